package guard_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strconv"
	"testing"

	"github.com/lockstep-dev/lockstep/client/guard"
)

func request(t *testing.T, client *http.Client, ctx context.Context, url string) (int, map[string]any) {
	t.Helper()
	r, err := http.NewRequestWithContext(ctx, http.MethodPost, url, nil)
	if err != nil {
		t.Fatal(err)
	}
	res, err := client.Do(r)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = res.Body.Close() }()
	body := map[string]any{}
	_ = json.NewDecoder(res.Body).Decode(&body) // what was served has no body
	return res.StatusCode, body
}

func guarded(t *testing.T, store guard.Store, served http.HandlerFunc) (*http.Client, string) {
	t.Helper()
	server := httptest.NewServer(guard.Handler(store, nil, served))
	t.Cleanup(server.Close)
	return &http.Client{Transport: &guard.Transport{Base: server.Client().Transport}}, server.URL
}

func TestHandler(t *testing.T) {
	client, url := guarded(t, &guard.Memory{}, func(http.ResponseWriter, *http.Request) {})
	under := func(name string, token int64) context.Context { return guard.WithLease(t.Context(), name, token) }
	for _, step := range []struct {
		ctx    context.Context
		path   string
		status int
	}{
		{under("dock#1", 7), "/a", 200},
		{under("dock#1", 6), "/a", 412},
		{under("dock#2", 6), "/a", 200},
		{under("dock#1", 6), "/b", 200},
		{under("dock#1", 7), "/a", 200},
		{t.Context(), "/a", 428},
		{under("", 8), "/a", 428},
		{under("dock#1", 0), "/a", 428},
	} {
		if status, body := request(t, client, step.ctx, url+step.path); status != step.status {
			t.Errorf("%s: %d %v, want %d", step.path, status, body, step.status)
		} else if status == 412 && (body["code"] != "FENCED" || body["have"] != 7.0 || body["given"] != 6.0) {
			t.Errorf("the refusal says %v", body)
		}
	}
}

type brokenStore struct{}

func (brokenStore) Raise(context.Context, guard.Key, int64) error { return errors.New("no disk") }

// A store that cannot tell lets nothing through.
func TestHandlerStoreFails(t *testing.T) {
	client, url := guarded(t, brokenStore{}, func(http.ResponseWriter, *http.Request) { t.Error("served") })
	if status, _ := request(t, client, guard.WithLease(t.Context(), "l", 1), url); status != http.StatusServiceUnavailable {
		t.Errorf("status %d", status)
	}
}

// Transport leaves a request without a lease alone, and the caller's request unchanged.
func TestTransport(t *testing.T) {
	seen := make(chan string, 2)
	server := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		seen <- r.Header.Get(guard.HeaderLease) + "=" + r.Header.Get(guard.HeaderToken)
	}))
	defer server.Close()
	client := &http.Client{Transport: &guard.Transport{}}
	for ctx, want := range map[context.Context]string{t.Context(): "=", guard.WithLease(t.Context(), "l", 3): "l=3"} {
		r, _ := http.NewRequestWithContext(ctx, http.MethodGet, server.URL, nil)
		res, err := client.Do(r)
		if err != nil {
			t.Fatal(err)
		}
		_ = res.Body.Close()
		if got := <-seen; got != want || len(r.Header) != 0 {
			t.Errorf("got %q, want %q; the request has %v", got, want, r.Header)
		}
	}
}

func ExampleHandler() {
	server := httptest.NewServer(guard.Handler(&guard.Memory{}, nil, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		fmt.Fprintf(w, "written under token %s", r.Header.Get(guard.HeaderToken))
	})))
	defer server.Close()
	client := &http.Client{Transport: &guard.Transport{}}
	put := func(token int64) {
		ctx := guard.WithLease(context.Background(), "dock#1", token)
		r, _ := http.NewRequestWithContext(ctx, http.MethodPut, server.URL+"/crane", nil)
		res, err := client.Do(r)
		if err != nil {
			panic(err)
		}
		defer res.Body.Close()
		body, _ := io.ReadAll(res.Body)
		fmt.Println(strconv.Itoa(res.StatusCode)+":", string(body))
	}
	put(8)
	put(7)
	// Output:
	// 200: written under token 8
	// 412: {"code":"FENCED","reason":"FENCED: token 7 is over for /crane under lease dock#1: token 8 has written","have":8,"given":7}
}
