package bench

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"time"
)

// profile begins to take a CPU profile of every server, and returns what ends it, with one of the heap. Without a
// directory for them it does nothing.
func (t *target) profile(ctx context.Context) (end func() error) {
	if t.Profile == "" {
		return func() error { return nil }
	}
	taken := make(chan error, 1)
	go func() {
		taken <- together(ctx, len(t.servers), func(ctx context.Context, i int) error {
			seconds := max(1, int(t.Seconds.Seconds())-1)
			return t.fetch(ctx, i, "cpu", fmt.Sprintf("profile?seconds=%d", seconds))
		})
	}()
	return func() error {
		return errors.Join(<-taken, together(ctx, len(t.servers), func(ctx context.Context, i int) error {
			return errors.Join(t.fetch(ctx, i, "heap", "heap"), t.fetch(ctx, i, "allocs", "allocs"), t.fetch(ctx, i, "goroutine", "goroutine"))
		}))
	}
}

// fetch keeps a profile of a server; the leader's has that in its name.
func (t *target) fetch(ctx context.Context, server int, kind, query string) (err error) {
	ctx, cancel := context.WithTimeout(ctx, t.Seconds+30*time.Second)
	defer cancel()
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, url(t.servers[server])+"/debug/pprof/"+query, nil)
	if err != nil {
		return err
	}
	reply, err := t.http.Do(request)
	if err != nil {
		return fmt.Errorf("profile: %w", err)
	}
	defer reply.Body.Close()
	if reply.StatusCode != http.StatusOK {
		return fmt.Errorf("profile of %s: %s; a server gives profiles when it is started with --pprof", t.servers[server], reply.Status)
	}
	if err := os.MkdirAll(t.Profile, 0o755); err != nil {
		return err
	}
	role := "follower"
	if s, err := t.status(ctx, t.servers[server]); err == nil {
		role = strings.ToLower(s.State)
	}
	file, err := os.Create(filepath.Join(t.Profile, fmt.Sprintf("%s-%s-%d.pb.gz", kind, role, server+1)))
	if err != nil {
		return err
	}
	_, err = io.Copy(file, reply.Body)
	return errors.Join(err, file.Close())
}
