package bench

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"net/http"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"time"
)

// use is what a process has used.
type use struct{ cpuSeconds, residentBytes float64 }

// meter watches the servers under load: a goroutine looks once a second, from watch until stop.
type meter struct {
	t      *target
	cancel context.CancelFunc
	ended  sync.WaitGroup
	term   uint64 // when it began

	mu       sync.Mutex // guards what follows
	resident float64    // the most that a server had
	newest   uint64     // term
}

// watch begins to watch.
func (t *target) watch(ctx context.Context) (*meter, error) {
	lead, _, err := t.leader(ctx)
	if err != nil {
		return nil, err
	}
	ctx, cancel := context.WithCancel(ctx)
	m := &meter{t: t, cancel: cancel, term: lead.Term, newest: lead.Term}
	m.ended.Go(func() {
		for pause(ctx, time.Second) == nil {
			m.look(ctx)
		}
	})
	return m, nil
}

// look asks every server. One that does not answer under load is asked again at the next look, and in stop.
func (m *meter) look(ctx context.Context) {
	for _, server := range m.t.servers {
		status, err := m.t.status(ctx, server)
		if err != nil {
			continue
		}
		used, err := m.t.used(ctx, server)
		m.mu.Lock()
		m.newest = max(m.newest, status.Term)
		if err == nil {
			m.resident = max(m.resident, used.residentBytes)
		}
		m.mu.Unlock()
	}
}

// stop ends watching, and tells into figures.
func (m *meter) stop(ctx context.Context, into Figures) error {
	m.cancel()
	m.ended.Wait()
	if _, _, err := m.t.leader(ctx); err != nil {
		return err
	}
	m.look(ctx)
	changes := m.newest - m.term
	into["serverRssMiB"] = m.resident / (1 << 20)
	into["leaderChanges"] = float64(changes)
	if changes > 0 {
		m.t.problem("the leader changed %d times under load", changes)
	}
	return nil
}

// blame says that an error came with a change of leader since a term, if it did: what a load must not cause.
func (t *target) blame(ctx context.Context, term uint64, err error) error {
	if ctx.Err() != nil {
		return err
	}
	for limit := time.Now().Add(10 * time.Second); time.Now().Before(limit); {
		lead, _, unknown := t.leader(ctx)
		if unknown == nil && lead.Term > term {
			return fmt.Errorf("the load cost the cluster its leader (%d elections): %w", lead.Term-term, err)
		}
		if unknown == nil {
			return err
		}
		if pause(ctx, 50*time.Millisecond) != nil {
			return err
		}
	}
	return fmt.Errorf("the load cost the cluster its leader, and it has none yet: %w", err)
}

// usage is what all servers, and this process, have used so far.
type usage struct {
	at     time.Time
	server map[string]use
	own    time.Duration
}

func (t *target) usage(ctx context.Context) (usage, error) {
	u := usage{time.Now(), map[string]use{}, 0}
	for _, server := range t.servers {
		used, err := t.used(ctx, server)
		if err != nil {
			return u, fmt.Errorf("what the server uses: %w", err)
		}
		u.server[server] = used
	}
	var own syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &own); err != nil {
		return u, err
	}
	u.own = time.Duration(own.Utime.Nano() + own.Stime.Nano())
	return u, nil
}

// since tells the cores used from an earlier usage on: by all servers together, by the busiest, and by the load.
func (u usage) since(before usage, into Figures) {
	elapsed := u.at.Sub(before.at).Seconds()
	var all, most float64
	for server, now := range u.server {
		cores := (now.cpuSeconds - before.server[server].cpuSeconds) / elapsed
		all, most = all+cores, max(most, cores)
	}
	into["serverCpuCores"], into["busiestServerCpuCores"] = all, most
	into["clientCpuCores"] = (u.own - before.own).Seconds() / elapsed
}

// used reads what a server says of its process, for Prometheus.
func (t *target) used(ctx context.Context, server string) (u use, err error) {
	ctx, cancel := context.WithTimeout(ctx, 5*time.Second)
	defer cancel()
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, url(server)+"/metrics", nil)
	if err != nil {
		return u, err
	}
	reply, err := t.http.Do(request)
	if err != nil {
		return u, err
	}
	defer reply.Body.Close()
	if reply.StatusCode != http.StatusOK {
		return u, fmt.Errorf("%s/metrics: %s", server, reply.Status)
	}
	return parseUse(reply.Body)
}

func parseUse(r io.Reader) (u use, err error) {
	found := 0
	for lines := bufio.NewScanner(r); lines.Scan(); {
		name, value, _ := strings.Cut(lines.Text(), " ")
		var to *float64
		switch name {
		case "process_cpu_seconds_total":
			to = &u.cpuSeconds
		case "process_resident_memory_bytes":
			to = &u.residentBytes
		default:
			continue
		}
		if *to, err = strconv.ParseFloat(value, 64); err != nil {
			return u, err
		}
		found++
	}
	if found != 2 {
		return u, fmt.Errorf("the metrics tell %d of 2 things of the process", found)
	}
	return u, nil
}
