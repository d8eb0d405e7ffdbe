// Package examples holds workflows that run: each directory has a definition, a worker of a few shell lines, and a
// README that says how to start them. One has another engine beside them.
package examples

import (
	"embed"
	"fmt"
)

// definitions of all examples.
//
//go:embed */workflow.yaml
var definitions embed.FS

// Names lists the examples.
func Names() []string {
	return []string{"order-fulfilment", "customer-onboarding", "incident-handling", "settlement", "two-engines"}
}

// Definition is the source of an example, in YAML.
func Definition(name string) ([]byte, error) {
	source, err := definitions.ReadFile(name + "/workflow.yaml")
	if err != nil {
		return nil, fmt.Errorf("read example: %w", err)
	}
	return source, nil
}
