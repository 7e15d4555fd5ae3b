package main

import (
	"context"
	"encoding/json"
	"fmt"
	"time"

	"github.com/argoproj/gitops-engine/pkg/cache"
	"github.com/argoproj/gitops-engine/pkg/diff"
	"github.com/argoproj/gitops-engine/pkg/engine"
	"github.com/argoproj/gitops-engine/pkg/health"
	"github.com/argoproj/gitops-engine/pkg/sync"
	"github.com/argoproj/gitops-engine/pkg/utils/kube"
	"github.com/argoproj/gitops-engine/pkg/utils/tracing"
	"github.com/go-logr/logr"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/clientcmd"
)

const (
	// By this annotation Argo CD knows what it has applied.
	trackingID = "argocd.argoproj.io/tracking-id"
	// The field manager of Argo CD's server-side apply.
	manager = "argocd-controller"
)

type syncOptions struct {
	kubeconfig, repository, namespace string
	serverSide                        bool
	interval, limit                   time.Duration
}

// agent brings the manifests of a repository into one namespace, as an Application of Argo CD with automated sync, prune
// and self-heal does, and more eagerly: it applies at every resync, not only when something differs.
type agent struct {
	options syncOptions
	scripts healthScripts
	config  *rest.Config
	cache   cache.ClusterCache
	engine  engine.GitOpsEngine
}

// info is what the cache keeps of every object in the namespace.
type info struct {
	tracking string
	health   *health.HealthStatus
}

func newAgent(options syncOptions, scripts healthScripts) (*agent, error) {
	config, err := clientcmd.BuildConfigFromFlags("", options.kubeconfig)
	if err != nil {
		return nil, err
	}
	// Argo CD is not slowed down by its client either.
	config.QPS, config.Burst = 200, 400
	// The cache looks at every kind, old ones too.
	config.WarningHandler = rest.NoWarnings{}
	clusterCache := cache.NewClusterCache(config,
		cache.SetLogr(logr.Discard()),
		cache.SetNamespaces([]string{options.namespace}),
		cache.SetSettings(cache.Settings{ResourceHealthOverride: scripts, ResourcesFilter: cache.NewNoopSettings()}),
		cache.SetPopulateResourceInfoHandler(func(object *unstructured.Unstructured, _ bool) (any, bool) {
			found := &info{tracking: object.GetAnnotations()[trackingID]}
			// A script that fails says so in the health.
			found.health, _ = health.GetResourceHealth(object, scripts)
			return found, found.tracking != ""
		}),
	)
	return &agent{
		options: options,
		scripts: scripts,
		config:  config,
		cache:   clusterCache,
		engine:  engine.NewEngine(config, clusterCache, engine.WithLogr(logr.Discard())),
	}, nil
}

// syncForever writes a report on each sync.
func syncForever(options syncOptions, scripts healthScripts, out *json.Encoder) error {
	agent, err := newAgent(options, scripts)
	if err != nil {
		return err
	}
	stop, err := agent.engine.Run()
	if err != nil {
		return err
	}
	defer stop()
	for {
		report := newReport()
		if err := agent.sync(report); err != nil {
			report.Error = err.Error()
			// The schemas of kinds that are new on the server are read with everything else.
			agent.cache.Invalidate()
			if err := agent.cache.EnsureSynced(); err != nil {
				return err
			}
		}
		if err := out.Encode(report); err != nil {
			return err
		}
		time.Sleep(options.interval)
	}
}

// sync looks at what is there, and then brings it to what the newest commit says.
func (agent *agent) sync(report *report) error {
	revision, targets, err := readHead(agent.options.repository)
	if err != nil {
		return err
	}
	report.Revision = revision
	for _, target := range targets {
		if namespaced, err := agent.cache.IsNamespaced(target.GroupVersionKind().GroupKind()); err != nil {
			return err
		} else if namespaced {
			target.SetNamespace(agent.options.namespace)
		}
		annotations := target.GetAnnotations()
		if annotations == nil {
			annotations = map[string]string{}
		}
		annotations[trackingID] = tracking(kube.GetResourceKey(target))
		target.SetAnnotations(annotations)
	}
	if err := agent.look(targets, report); err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(context.Background(), agent.options.limit)
	defer cancel()
	results, err := agent.engine.Sync(ctx, targets, isManaged, revision, agent.options.namespace,
		sync.WithLogr(logr.Discard()),
		sync.WithPrune(true),
		sync.WithHealthOverride(agent.scripts),
		sync.WithServerSideApply(agent.options.serverSide),
		sync.WithServerSideApplyManager(manager),
	)
	report.addResults(results)
	return err
}

// look reports health and differences of what is managed, and what belongs to it.
func (agent *agent) look(targets []*unstructured.Unstructured, report *report) error {
	managed, err := agent.cache.GetManagedLiveObjs(targets, isManaged)
	if err != nil {
		return err
	}
	compared := sync.Reconcile(targets, managed, agent.options.namespace, agent.cache)
	options := []diff.Option{diff.WithLogr(logr.Discard())}
	if agent.options.serverSide {
		applier, cleanup, err := kube.ManageServerSideDiffDryRuns(agent.config, agent.cache.GetOpenAPISchema(),
			tracing.NopTracer{}, logr.Discard(), nil)
		if err != nil {
			return err
		}
		defer cleanup()
		options = append(options,
			diff.WithServerSideDiff(true),
			diff.WithServerSideDryRunner(diff.NewK8sServerSideDryRunner(applier)),
			diff.WithManager(manager),
			diff.WithGVKParser(agent.cache.GetGVKParser()),
		)
	}
	differences, err := diff.DiffArray(compared.Target, compared.Live, options...)
	if err != nil {
		return err
	}
	var roots []kube.ResourceKey
	for i, difference := range differences.Diffs {
		target, live := compared.Target[i], compared.Live[i]
		var shown *health.HealthStatus
		if live != nil {
			roots = append(roots, kube.GetResourceKey(live))
			if shown, err = health.GetResourceHealth(live, agent.scripts); err != nil {
				return err
			}
		}
		report.addResource(target, live, shown, difference)
	}
	agent.cache.IterateHierarchyV2(roots, func(found *cache.Resource, _ map[kube.ResourceKey]*cache.Resource) bool {
		if len(found.OwnerRefs) > 0 {
			report.addChild(found)
		}
		return true
	})
	return nil
}

func isManaged(found *cache.Resource) bool {
	return found.Info.(*info).tracking == tracking(found.ResourceKey())
}

func tracking(key kube.ResourceKey) string {
	return fmt.Sprintf("berth:%s/%s:%s/%s", key.Group, key.Kind, key.Namespace, key.Name)
}
