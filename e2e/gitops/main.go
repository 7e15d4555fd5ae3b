// What the tests need of GitOps tools, as these tools do it themselves: Argo CD's sync engine with its Lua, and kstatus.
//
//	gitops judge --config FILE                                  verdicts on the objects that are written to standard input
//	gitops sync --config FILE --kubeconfig FILE --repository FOLDER --namespace NAME [--server-side]
//	            [--interval TIME] [--limit TIME]
//
// FILE is the ConfigMap argocd-cm. Both write one JSON object per line and end with their standard input.
package main

import (
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"time"
)

func main() {
	if err := run(os.Args[1:]); err != nil {
		fmt.Fprintln(os.Stderr, "gitops:", err)
		os.Exit(1)
	}
}

func run(arguments []string) error {
	if len(arguments) == 0 {
		return errors.New("judge or sync?")
	}
	flags := flag.NewFlagSet(arguments[0], flag.ContinueOnError)
	config := flags.String("config", "", "the ConfigMap argocd-cm")
	var options syncOptions
	if arguments[0] == "sync" {
		flags.StringVar(&options.kubeconfig, "kubeconfig", "", "how to reach the cluster")
		flags.StringVar(&options.repository, "repository", "", "folder of a Git repository")
		flags.StringVar(&options.namespace, "namespace", "", "where its manifests go")
		flags.BoolVar(&options.serverSide, "server-side", false, "apply and compare on the server's side")
		flags.DurationVar(&options.interval, "interval", time.Second, "from one sync to the next")
		flags.DurationVar(&options.limit, "limit", 20*time.Second, "after which a sync has failed, and the next one goes on")
	}
	if err := flags.Parse(arguments[1:]); err != nil {
		return err
	}
	scripts, err := readHealthScripts(*config)
	if err != nil {
		return err
	}
	out := json.NewEncoder(os.Stdout)
	switch arguments[0] {
	case "judge":
		return judge(scripts, os.Stdin, out)
	case "sync":
		// The end of standard input is the end of whoever started this.
		go func() {
			_, _ = io.Copy(io.Discard, os.Stdin)
			os.Exit(0)
		}()
		return syncForever(options, scripts, out)
	default:
		return fmt.Errorf("judge or sync, not %s", arguments[0])
	}
}
