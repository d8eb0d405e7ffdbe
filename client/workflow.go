package client

import (
	"context"
	"fmt"

	v1 "github.com/lockstep-dev/lockstep/proto/gen/lockstep/v1"
)

// Register registers a workflow from its source, YAML or JSON. An equal definition is registered once, however often that
// is asked for. What is wrong with a source is refused as WORKFLOW_INVALID, with line and column. What cannot go well with it, or may
// not, refuses nothing: it is in the reply's Soundness.
func (c *Client) Register(ctx context.Context, source string) (*v1.Workflow, error) {
	w, err := ask(ctx, c.Workflows.RegisterWorkflow, &v1.RegisterWorkflowRequest{Namespace: c.namespace, Source: source})
	if err != nil {
		return nil, fmt.Errorf("register workflow: %w", err)
	}
	return w, nil
}
