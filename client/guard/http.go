package guard

import (
	"context"
	"encoding/json"
	"errors"
	"net/http"
	"strconv"
)

// Headers of a request that is made under a lease.
const (
	HeaderToken = "Lockstep-Token"
	HeaderLease = "Lockstep-Lease"
)

// Handler refuses requests of holders that have been overtaken, with 412 and a JSON body {code, reason, have, given}. The target
// is what target says of a request; nil means its path. Requests that do not say under which lease they come are answered
// with 428 and not served; so let only what must be fenced pass through here.
//
// While a request of one token is being served, one of a newer token for the same target and lease waits, so that nothing
// older still writes when it begins, in this process. Where several processes serve one target, have them share a SQL
// store; then also guard the write itself, for between the mark and the write another process may serve a newer token.
func Handler(store Store, target func(*http.Request) string, next http.Handler) http.Handler {
	if target == nil {
		target = func(r *http.Request) string { return r.URL.Path }
	}
	gates := &gates{}
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		token, err := strconv.ParseInt(r.Header.Get(HeaderToken), 10, 64)
		key := Key{Target: target(r), Lease: r.Header.Get(HeaderLease)}
		if err != nil || validate(key, token) != nil {
			answer(w, http.StatusPreconditionRequired, refusal{Code: "INVALID", Reason: "the request needs headers " + HeaderToken + " and " + HeaderLease})
			return
		}
		leave, err := gates.enter(r.Context(), key, token)
		if err != nil {
			answer(w, http.StatusServiceUnavailable, refusal{Code: "UNAVAILABLE", Reason: err.Error(), Given: token})
			return
		}
		defer leave()
		fenced := (*FencedError)(nil)
		switch err := store.Raise(r.Context(), key, token); {
		case errors.As(err, &fenced):
			answer(w, http.StatusPreconditionFailed, refusal{Code: "FENCED", Reason: fenced.Error(), Have: fenced.Have, Given: token})
		case err != nil:
			answer(w, http.StatusServiceUnavailable, refusal{Code: "UNAVAILABLE", Reason: err.Error(), Given: token})
		default:
			next.ServeHTTP(w, r)
		}
	})
}

// refusal is the body of an answer that is none.
type refusal struct {
	Code   string `json:"code"`
	Reason string `json:"reason"`
	Have   int64  `json:"have,omitempty"`
	Given  int64  `json:"given,omitempty"`
}

func answer(w http.ResponseWriter, status int, r refusal) {
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(status)
	_ = json.NewEncoder(w).Encode(r) // a client that went away is not told
}

type leaseKey struct{}

type lease struct {
	name  string
	token int64
}

// WithLease has requests that are made with the context carry a lease's name and token, when they go through Transport.
func WithLease(ctx context.Context, name string, token int64) context.Context {
	return context.WithValue(ctx, leaseKey{}, lease{name, token})
}

// Transport sets the headers that Handler wants on requests whose context has a lease; others pass as they are.
type Transport struct {
	// Base carries the requests; nil means http.DefaultTransport.
	Base http.RoundTripper
}

// RoundTrip is http.RoundTripper's.
func (t *Transport) RoundTrip(r *http.Request) (*http.Response, error) {
	base := t.Base
	if base == nil {
		base = http.DefaultTransport
	}
	if l, ok := r.Context().Value(leaseKey{}).(lease); ok {
		r = r.Clone(r.Context())
		r.Header.Set(HeaderLease, l.name)
		r.Header.Set(HeaderToken, strconv.FormatInt(l.token, 10))
	}
	return base.RoundTrip(r)
}
