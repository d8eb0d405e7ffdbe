package client

import (
	"context"
	"fmt"

	v1 "github.com/lockstep-dev/lockstep/proto/gen/lockstep/v1"
)

// ResolveIncident says that a failed instance needs nobody any more, and why: it is left out of what needs a person. Resolved twice is as
// once. One that has not failed is refused as NOT_FAILED: of what stands still, the step is retried, skipped, or ended by hand.
func (c *Client) ResolveIncident(ctx context.Context, id, reason string) error {
	if _, err := ask(ctx, c.Incidents.ResolveIncident, &v1.ResolveIncidentRequest{Namespace: c.namespace, InstanceId: id, Reason: reason}); err != nil {
		return fmt.Errorf("resolve the failure of instance %s: %w", id, err)
	}
	return nil
}

// ReopenIncident takes that back.
func (c *Client) ReopenIncident(ctx context.Context, id, reason string) error {
	if _, err := ask(ctx, c.Incidents.ReopenIncident, &v1.ReopenIncidentRequest{Namespace: c.namespace, InstanceId: id, Reason: reason}); err != nil {
		return fmt.Errorf("reopen the failure of instance %s: %w", id, err)
	}
	return nil
}
