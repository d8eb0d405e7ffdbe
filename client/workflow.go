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

// Drain has a version start nothing any more: starts of it are refused as VERSION_DRAINED, and the newest is then the newest of the others.
// What it has started runs on; it is done with when no instance of it is live, as the answer and the list of workflows say.
func (c *Client) Drain(ctx context.Context, workflow string, version int32, reason string) (*v1.Workflow, error) {
	w, err := ask(ctx, c.Workflows.DrainVersion, &v1.DrainVersionRequest{Namespace: c.namespace, Workflow: workflow, Version: version, Reason: reason})
	if err != nil {
		return nil, fmt.Errorf("drain version %d of workflow %s: %w", version, workflow, err)
	}
	return w, nil
}

// Undrain takes that back.
func (c *Client) Undrain(ctx context.Context, workflow string, version int32, reason string) (*v1.Workflow, error) {
	w, err := ask(ctx, c.Workflows.UndrainVersion, &v1.UndrainVersionRequest{Namespace: c.namespace, Workflow: workflow, Version: version, Reason: reason})
	if err != nil {
		return nil, fmt.Errorf("undrain version %d of workflow %s: %w", version, workflow, err)
	}
	return w, nil
}
