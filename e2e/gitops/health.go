package main

import (
	"context"
	"fmt"
	"os"
	"strings"
	"time"

	"github.com/argoproj/gitops-engine/pkg/health"
	lua "github.com/yuin/gopher-lua"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"sigs.k8s.io/yaml"
)

const (
	// Argo CD's key of a health script is this, then GROUP_KIND.
	healthKey = "resource.customizations.health."
	// Argo CD gives a script as long.
	scriptTime = time.Second
)

// healthScripts are Lua texts by kind. They are the engine's health.HealthOverride.
type healthScripts map[schema.GroupKind]string

// readHealthScripts reads them from a file with a ConfigMap.
func readHealthScripts(file string) (healthScripts, error) {
	text, err := os.ReadFile(file)
	if err != nil {
		return nil, err
	}
	var configMap struct {
		Data map[string]string `json:"data"`
	}
	if err := yaml.Unmarshal(text, &configMap); err != nil {
		return nil, fmt.Errorf("%s: %w", file, err)
	}
	scripts := healthScripts{}
	for key, script := range configMap.Data {
		group, kind, ok := strings.Cut(strings.TrimPrefix(key, healthKey), "_")
		if !strings.HasPrefix(key, healthKey) || !ok {
			return nil, fmt.Errorf("%s: %s is no key of a health script", file, key)
		}
		scripts[schema.GroupKind{Group: group, Kind: kind}] = script
	}
	return scripts, nil
}

// GetResourceHealth runs the script of the object's kind; kinds without one are left to the engine.
func (scripts healthScripts) GetResourceHealth(object *unstructured.Unstructured) (*health.HealthStatus, error) {
	script, ok := scripts[object.GroupVersionKind().GroupKind()]
	if !ok {
		return nil, nil
	}
	return runHealthScript(script, object)
}

// runHealthScript gives a script no more than Argo CD does by default: of the libraries the base and tables, and the
// object as the global obj.
func runHealthScript(script string, object *unstructured.Unstructured) (*health.HealthStatus, error) {
	state := lua.NewState(lua.Options{SkipOpenLibs: true})
	defer state.Close()
	for name, open := range map[string]lua.LGFunction{lua.BaseLibName: lua.OpenBase, lua.TabLibName: lua.OpenTable} {
		call := lua.P{Fn: state.NewFunction(open), Protect: true}
		if err := state.CallByParam(call, lua.LString(name)); err != nil {
			return nil, err
		}
	}
	ctx, cancel := context.WithTimeout(context.Background(), scriptTime)
	defer cancel()
	state.SetContext(ctx)
	state.SetGlobal("obj", luaValue(state, object.Object))
	if err := state.DoString(script); err != nil {
		return nil, err
	}
	result, ok := state.Get(-1).(*lua.LTable)
	if !ok {
		return nil, fmt.Errorf("the script gives %s instead of a table", state.Get(-1).Type())
	}
	found := &health.HealthStatus{}
	for key, field := range map[string]func(string){
		"status":  func(text string) { found.Status = health.HealthStatusCode(text) },
		"message": func(text string) { found.Message = text },
	} {
		text, ok := result.RawGetString(key).(lua.LString)
		if !ok {
			return nil, fmt.Errorf("the script gives no text as %s", key)
		}
		field(string(text))
	}
	switch found.Status {
	case health.HealthStatusHealthy, health.HealthStatusProgressing, health.HealthStatusDegraded, health.HealthStatusSuspended:
		return found, nil
	default:
		return nil, fmt.Errorf("the script gives the status %s", found.Status)
	}
}

// luaValue turns a decoded JSON value into one of Lua. What is none of JSON's types becomes nil.
func luaValue(state *lua.LState, value any) lua.LValue {
	switch value := value.(type) {
	case bool:
		return lua.LBool(value)
	case string:
		return lua.LString(value)
	case int64:
		return lua.LNumber(value)
	case float64:
		return lua.LNumber(value)
	case []any:
		table := state.CreateTable(len(value), 0)
		for _, item := range value {
			table.Append(luaValue(state, item))
		}
		return table
	case map[string]any:
		table := state.CreateTable(0, len(value))
		for key, item := range value {
			table.RawSetString(key, luaValue(state, item))
		}
		return table
	default:
		return lua.LNil
	}
}
