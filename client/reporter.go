package client

import (
	"context"
	"fmt"

	v1 "github.com/lockstep-dev/lockstep/proto/gen/lockstep/v1"
)

// RegisterReporter has a reporter be asked about runs that are out of contact, as r says; its namespace is the client's. The same again finds it, with
// Existing set; another under its name is refused as REPORTER_EXISTS.
func (c *Client) RegisterReporter(ctx context.Context, r *v1.RegisterReporterRequest) (*v1.Reporter, error) {
	r.Namespace = c.namespace
	reply, err := ask(ctx, c.Reporters.RegisterReporter, r)
	if err != nil {
		return nil, fmt.Errorf("register reporter %s: %w", r.Reporter, err)
	}
	return reply, nil
}

// ListReporters lists the reporters that are registered, by name.
func (c *Client) ListReporters(ctx context.Context) ([]*v1.Reporter, error) {
	reply, err := ask(ctx, c.Reporters.ListReporters, &v1.ListReportersRequest{Namespace: c.namespace})
	if err != nil {
		return nil, fmt.Errorf("list reporters: %w", err)
	}
	return reply.Reporters, nil
}

// RemoveReporter has a reporter be asked no more. What it has reported stays.
func (c *Client) RemoveReporter(ctx context.Context, name, reason string) error {
	if _, err := ask(ctx, c.Reporters.RemoveReporter, &v1.RemoveReporterRequest{Namespace: c.namespace, Reporter: name, Reason: reason}); err != nil {
		return fmt.Errorf("remove reporter %s: %w", name, err)
	}
	return nil
}

// OutOfContact lists the runs that a reporter would be asked about now, a page at a time: the empty page is the first. A page may be empty and not be
// the last.
func (c *Client) OutOfContact(ctx context.Context, reporter, page string) (*v1.ListOutOfContactResponse, error) {
	reply, err := ask(ctx, c.Reporters.ListOutOfContact, &v1.ListOutOfContactRequest{Namespace: c.namespace, Reporter: reporter, Page: page})
	if err != nil {
		return nil, fmt.Errorf("runs out of contact with %s: %w", reporter, err)
	}
	return reply, nil
}

// RecordAsk records that a reporter was asked, under the token of the lock `lockstep.sweep`: without it, or when it is lost, it is refused as
// FENCED. The same ask again changes nothing.
func (c *Client) RecordAsk(ctx context.Context, r *v1.RecordAskRequest) error {
	r.Namespace = c.namespace
	if _, err := ask(ctx, c.Reporters.RecordAsk, r); err != nil {
		return fmt.Errorf("record that reporter %s was asked: %w", r.Reporter, err)
	}
	return nil
}
