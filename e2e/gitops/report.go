package main

import (
	"encoding/json"

	"github.com/argoproj/gitops-engine/pkg/cache"
	"github.com/argoproj/gitops-engine/pkg/diff"
	"github.com/argoproj/gitops-engine/pkg/health"
	"github.com/argoproj/gitops-engine/pkg/sync/common"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
)

// report is one sync: what was there before it, and what it did.
type report struct {
	Revision  string     `json:"revision"`
	Resources []resource `json:"resources"`
	Children  []object   `json:"children"`
	Results   []result   `json:"results"`
	Error     string     `json:"error,omitempty"`
}

// object is one that is there.
type object struct {
	Kind            string                  `json:"kind"`
	Name            string                  `json:"name"`
	ResourceVersion string                  `json:"resourceVersion"`
	Health          health.HealthStatusCode `json:"health"`
	Message         string                  `json:"message"`
}

// resource is one that the commit has, or that an earlier one had.
type resource struct {
	object
	InGit bool `json:"inGit"`
	// What the engine would change; absent when that is nothing.
	Difference *difference `json:"difference,omitempty"`
}

type difference struct {
	Live      json.RawMessage `json:"live"`
	Predicted json.RawMessage `json:"predicted"`
}

// result is what the engine did to a resource.
type result struct {
	Kind    string            `json:"kind"`
	Name    string            `json:"name"`
	Status  common.ResultCode `json:"status"`
	Message string            `json:"message"`
}

// newReport gives one with lists that are written as such.
func newReport() *report {
	return &report{Resources: []resource{}, Children: []object{}, Results: []result{}}
}

func (report *report) addResource(target, live *unstructured.Unstructured, shown *health.HealthStatus, found diff.DiffResult) {
	known := live
	if live == nil {
		known = target
		shown = &health.HealthStatus{Status: health.HealthStatusMissing}
	}
	added := resource{
		object: newObject(known.GetKind(), known.GetName(), known.GetResourceVersion(), shown),
		InGit:  target != nil,
	}
	if found.Modified {
		added.Difference = &difference{found.NormalizedLive, found.PredictedLive}
	}
	report.Resources = append(report.Resources, added)
}

func (report *report) addChild(child *cache.Resource) {
	added := newObject(child.Ref.Kind, child.Ref.Name, child.ResourceVersion, child.Info.(*info).health)
	report.Children = append(report.Children, added)
}

func (report *report) addResults(results []common.ResourceSyncResult) {
	for _, done := range results {
		report.Results = append(report.Results, result{done.ResourceKey.Kind, done.ResourceKey.Name, done.Status, done.Message})
	}
}

func newObject(kind, name, version string, shown *health.HealthStatus) object {
	if shown == nil {
		// Of this kind the engine makes no judgement.
		shown = &health.HealthStatus{}
	}
	return object{kind, name, version, shown.Status, shown.Message}
}
