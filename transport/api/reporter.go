package api

import (
	"context"
	"net/url"

	"connectrpc.com/connect"

	"github.com/lockstep-dev/lockstep/fsm"
	logv1 "github.com/lockstep-dev/lockstep/proto/gen/lockstep/log/v1"
	v1 "github.com/lockstep-dev/lockstep/proto/gen/lockstep/v1"
)

// RegisterReporter checks a reporter, and has it be asked.
func (s *service) RegisterReporter(ctx context.Context, r *connect.Request[v1.RegisterReporterRequest]) (*connect.Response[v1.Reporter], error) {
	return unary(s, ctx, r, r.Msg.Namespace, func(ctx context.Context, r *v1.RegisterReporterRequest) (*v1.Reporter, error) {
		if err := checkReporter(r); err != nil {
			return nil, err
		}
		return propose[*v1.Reporter](s, ctx, &logv1.Command{Envelope: envelope(ctx, r.Namespace), Body: &logv1.Command_RegisterReporter{RegisterReporter: r}})
	})
}

// checkReporter checks what the state machine does not: that names are some, and that the URL is one that can be asked, and has no secret in it.
func checkReporter(r *v1.RegisterReporterRequest) error {
	if err := names("reporter", r.Reporter, "url", r.Url); err != nil {
		return err
	}
	at, err := url.Parse(r.Url)
	switch {
	case err != nil || at.Hostname() == "" || at.Scheme != "http" && at.Scheme != "https":
		return invalid("url %q is not http://host[:port]/path, or https", r.Url)
	case at.User != nil || at.Fragment != "":
		return invalid("the url has a user, or a fragment; it is shown to everybody, and a secret has no place in it")
	}
	for _, d := range [...]struct {
		field string
		valid bool
	}{{"every", r.Every == nil || r.Every.IsValid()}, {"outOfContact", r.OutOfContact == nil || r.OutOfContact.IsValid()}} {
		if !d.valid {
			return invalid("%s is no duration", d.field)
		}
	}
	for _, name := range r.Workflows {
		if err := names("workflows", name); err != nil {
			return err
		}
	}
	for _, name := range r.Steps {
		if err := names("steps", name); err != nil {
			return err
		}
	}
	return why(r.Reason)
}

// ListReporters lists the reporters of a namespace.
func (s *service) ListReporters(ctx context.Context, r *connect.Request[v1.ListReportersRequest]) (*connect.Response[v1.ListReportersResponse], error) {
	return read(s, ctx, r, func(*v1.ListReportersRequest) error { return nil }, (*fsm.Machine).ListReporters, nil)
}

// RemoveReporter has a reporter be asked no more.
func (s *service) RemoveReporter(ctx context.Context, r *connect.Request[v1.RemoveReporterRequest]) (*connect.Response[v1.RemoveReporterResponse], error) {
	return unary(s, ctx, r, r.Msg.Namespace, func(ctx context.Context, r *v1.RemoveReporterRequest) (*v1.RemoveReporterResponse, error) {
		if err := names("reporter", r.Reporter); err != nil {
			return nil, err
		}
		if err := why(r.Reason); err != nil {
			return nil, err
		}
		return propose[*v1.RemoveReporterResponse](s, ctx, &logv1.Command{Envelope: envelope(ctx, r.Namespace), Body: &logv1.Command_RemoveReporter{RemoveReporter: r}})
	})
}

// ListOutOfContact lists the runs that a reporter would be asked about now.
func (s *service) ListOutOfContact(ctx context.Context, r *connect.Request[v1.ListOutOfContactRequest]) (*connect.Response[v1.ListOutOfContactResponse], error) {
	return read(s, ctx, r, func(r *v1.ListOutOfContactRequest) error {
		if err := names("reporter", r.Reporter); err != nil {
			return err
		}
		return page(r.Limit, r.Page)
	}, (*fsm.Machine).ListOutOfContact, nil)
}

// RecordAsk records that a reporter was asked.
func (s *service) RecordAsk(ctx context.Context, r *connect.Request[v1.RecordAskRequest]) (*connect.Response[v1.RecordAskResponse], error) {
	return unary(s, ctx, r, r.Msg.Namespace, func(ctx context.Context, r *v1.RecordAskRequest) (*v1.RecordAskResponse, error) {
		if err := names("reporter", r.Reporter, "askId", r.AskId); err != nil {
			return nil, err
		}
		if err := issued(r.Token); err != nil {
			return nil, err
		}
		if err := text("error", r.Error); err != nil {
			return nil, err
		}
		return propose[*v1.RecordAskResponse](s, ctx, &logv1.Command{Envelope: envelope(ctx, r.Namespace), Body: &logv1.Command_RecordAsk{RecordAsk: r}})
	})
}
