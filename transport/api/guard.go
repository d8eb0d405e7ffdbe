package api

import (
	"context"
	"crypto/rand"
	"net/http"
	"strings"

	logv1 "github.com/lockstep-dev/lockstep/proto/gen/lockstep/log/v1"
	v1 "github.com/lockstep-dev/lockstep/proto/gen/lockstep/v1"
)

// Headers that say who asks, and why. Until there is authentication a principal is taken by its word, and marked so.
const (
	principalHeader = "Lockstep-Principal"
	reasonHeader    = "Lockstep-Reason"
	traceHeader     = "Traceparent"
)

type callerKey struct{}

// caller is what a request's headers say. It goes into the log, so it is short and valid UTF-8.
type caller struct {
	author      *v1.Author
	reason      string
	traceparent string
}

// withCaller reads who asks. A principal that cannot be kept is refused; a reason is cut, and a trace that is none is
// left out, as its standard says.
func withCaller(ctx context.Context, h http.Header) (context.Context, error) {
	c := caller{reason: cut(h.Get(reasonHeader), maxText), traceparent: h.Get(traceHeader)}
	if principal := h.Get(principalHeader); principal != "" {
		if err := name("the header "+principalHeader, principal); err != nil {
			return ctx, err
		}
		c.author = &v1.Author{Principal: principal, Kind: "client"}
	}
	if name(traceHeader, c.traceparent) != nil || len(c.traceparent) > maxTrace {
		c.traceparent = ""
	}
	return context.WithValue(ctx, callerKey{}, c), nil
}

// cut has a text be valid UTF-8 of at most so many bytes.
func cut(s string, limit int) string {
	return strings.ToValidUTF8(s[:min(len(s), limit)], "")
}

// envelope is what every command of a call carries.
func envelope(ctx context.Context, namespace string) *logv1.Envelope {
	c, _ := ctx.Value(callerKey{}).(caller)
	e := &logv1.Envelope{Namespace: namespace, Author: c.author, Reason: c.reason, Traceparent: c.traceparent}
	e.Salt = make([]byte, 8)
	rand.Read(e.Salt)
	return e
}

// request adds what makes a retry safe.
func request(e *logv1.Envelope, session, id, lowest int64) (*logv1.Envelope, error) {
	if id < 0 || lowest < 0 {
		return nil, invalid("requestId is %d and lowestUnanswered %d; both count from 1", id, lowest)
	}
	if id > 0 {
		e.Session, e.RequestId, e.LowestUnanswered = session, id, lowest
	}
	return e, nil
}
