package client

import (
	"context"
	"fmt"
	"time"

	v1 "github.com/lockstep-dev/lockstep/proto/gen/lockstep/v1"
)

// StartBulk starts a bulk operation, as r says; its namespace is the client's. It runs in the cluster, whether the caller waits or not. The same
// again, under its id, is answered with the first, with Existing set.
func (c *Client) StartBulk(ctx context.Context, r *v1.StartBulkRequest) (*v1.BulkOperation, error) {
	r.Namespace = c.namespace
	reply, err := ask(ctx, c.Bulks.StartBulk, r)
	if err != nil {
		return nil, fmt.Errorf("start bulk operation %s: %w", r.BulkId, err)
	}
	return reply, nil
}

// Bulk says how far a bulk operation has come.
func (c *Client) Bulk(ctx context.Context, id string) (*v1.BulkOperation, error) {
	reply, err := ask(ctx, c.Bulks.GetBulk, &v1.GetBulkRequest{Namespace: c.namespace, BulkId: id})
	if err != nil {
		return nil, fmt.Errorf("bulk operation %s: %w", id, err)
	}
	return reply, nil
}

// CancelBulk has a bulk operation come to no more instances; what it has done stays. One that has come to all is refused as ALREADY_ENDED.
func (c *Client) CancelBulk(ctx context.Context, id, reason string) (*v1.BulkOperation, error) {
	reply, err := ask(ctx, c.Bulks.CancelBulk, &v1.CancelBulkRequest{Namespace: c.namespace, BulkId: id, Reason: reason})
	if err != nil {
		return nil, fmt.Errorf("cancel bulk operation %s: %w", id, err)
	}
	return reply, nil
}

// WaitBulk returns when a bulk operation does not run any more, and tells progress, unless that is nil, how far it is meanwhile.
func (c *Client) WaitBulk(ctx context.Context, id string, progress func(*v1.BulkOperation)) (*v1.BulkOperation, error) {
	const every = 500 * time.Millisecond
	for wait := 20 * time.Millisecond; ; wait = min(2*wait, every) {
		b, err := c.Bulk(ctx, id)
		if err != nil || b.State != v1.BulkState_BULK_STATE_RUNNING {
			return b, err
		}
		if progress != nil {
			progress(b)
		}
		select {
		case <-ctx.Done():
			return b, fmt.Errorf("wait for bulk operation %s: %w", id, ctx.Err())
		case <-time.After(wait):
		}
	}
}
