package bench

import (
	"context"
	"fmt"
	"sync"
	"time"
)

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
