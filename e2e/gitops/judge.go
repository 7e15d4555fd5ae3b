package main

import (
	"encoding/json"
	"errors"
	"io"

	"github.com/argoproj/gitops-engine/pkg/health"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"sigs.k8s.io/cli-utils/pkg/kstatus/status"
)

// verdict is what GitOps tools make of an object.
type verdict struct {
	// What Argo CD shows.
	Health  health.HealthStatusCode `json:"health"`
	Message string                  `json:"message"`
	// What kstatus says, and so Flux.
	Kstatus status.Status `json:"kstatus"`
}

// judge reads objects as JSON, one after the other, and writes a verdict on each.
func judge(scripts healthScripts, in io.Reader, out *json.Encoder) error {
	objects := json.NewDecoder(in)
	for {
		var raw json.RawMessage
		if err := objects.Decode(&raw); errors.Is(err, io.EOF) {
			return nil
		} else if err != nil {
			return err
		}
		// Its own decoder keeps whole numbers whole.
		object := &unstructured.Unstructured{}
		if err := object.UnmarshalJSON(raw); err != nil {
			return err
		}
		shown, err := health.GetResourceHealth(object, scripts)
		if err != nil {
			return err
		}
		if shown == nil {
			shown = &health.HealthStatus{}
		}
		computed, err := status.Compute(object)
		if err != nil {
			return err
		}
		if err := out.Encode(verdict{shown.Status, shown.Message, computed.Status}); err != nil {
			return err
		}
	}
}
