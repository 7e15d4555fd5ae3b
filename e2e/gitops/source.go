package main

import (
	"fmt"
	"os/exec"
	"path"
	"strings"

	"github.com/argoproj/gitops-engine/pkg/utils/kube"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
)

// readHead gives the newest commit of a repository and all of its manifests. What is not committed is not seen.
func readHead(repository string) (revision string, objects []*unstructured.Unstructured, err error) {
	head, err := git(repository, "rev-parse", "HEAD")
	if err != nil {
		return "", nil, err
	}
	revision = strings.TrimSpace(head)
	files, err := git(repository, "ls-tree", "-r", "-z", "--name-only", revision)
	if err != nil {
		return "", nil, err
	}
	for _, file := range strings.Split(files, "\x00") {
		if extension := path.Ext(file); extension != ".yaml" && extension != ".yml" {
			continue
		}
		text, err := git(repository, "show", revision+":"+file)
		if err != nil {
			return "", nil, err
		}
		found, err := kube.SplitYAML([]byte(text))
		if err != nil {
			return "", nil, fmt.Errorf("%s: %w", file, err)
		}
		objects = append(objects, found...)
	}
	return revision, objects, nil
}

func git(repository string, arguments ...string) (string, error) {
	command := exec.Command("git", arguments...)
	command.Dir = repository
	out, err := command.Output()
	if err != nil {
		return "", fmt.Errorf("git %s: %w", strings.Join(arguments, " "), err)
	}
	return string(out), nil
}
