// Package sweep asks registered reporters, by HTTP, about the runs of which nothing was heard for a while, and reports what they answer.
//
// It is outside of the state machine, and a client of the cluster like any other: it lists, reports and records by the API. Whoever leads sweeps,
// a namespace at a time under its lock `lockstep.sweep`: so one node asks at a time, and what a node records that has lost the lock is refused by
// its token. What it reports needs no such check: an observation is the same whoever carries it, and of each reporter and run the newest is kept.
package sweep

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"time"

	"github.com/hashicorp/go-hclog"

	"github.com/lockstep-dev/lockstep/client"
	v1 "github.com/lockstep-dev/lockstep/proto/gen/lockstep/v1"
)

// Lock is held, in each namespace that has reporters, by the node that asks them.
const Lock = "lockstep.sweep"

// Defaults.
const (
	lookEvery  = time.Second
	askTimeout = 10 * time.Second
	lockTTL    = 5 * time.Second // how long nobody asks, when the node that did is gone
	longestOff = time.Hour       // the longest back-off
)

// Node is what the sweep is told by the node that it runs on.
type Node interface {
	// Leads says whether the node leads, and LeaderChanged closes its channel when that may be otherwise.
	Leads() bool
	LeaderChanged() <-chan struct{}
	// Swept are the namespaces that have reporters. It does not block for long, and may be a little behind.
	Swept(ctx context.Context) ([]string, error)
}

// Config of a sweep.
type Config struct {
	Node Node
	// Client makes a client of the cluster for a namespace. The sweep closes it.
	Client func(namespace string) (*client.Client, error)
	// Hosts that may be asked.
	Hosts *Hosts
	// Name of the node, for people who look at the lock.
	Name string
	// AskTimeout bounds one ask; default 10 s.
	AskTimeout time.Duration
	Logger     hclog.Logger
}

// Counts are how much was done on this node. They only grow.
type Counts struct{ Asked, Answered, Failed, Runs, Reported, Refused atomic.Uint64 }

// Sweep asks while its node leads. One goroutine runs from Open until Close (run), beside it one for each namespace that is swept, and one for each
// reporter that is being asked.
type Sweep struct {
	config Config
	asker  *asker
	counts Counts
	cancel context.CancelFunc
	tasks  sync.WaitGroup
}

// Open begins to sweep.
func Open(c Config) (*Sweep, error) {
	if c.Node == nil || c.Client == nil || c.Hosts == nil {
		return nil, errors.New("sweep: Node, Client and Hosts are needed")
	}
	if c.Logger == nil {
		c.Logger = hclog.NewNullLogger()
	}
	if c.AskTimeout == 0 {
		c.AskTimeout = askTimeout
	}
	ctx, cancel := context.WithCancel(context.Background())
	s := &Sweep{config: c, asker: newAsker(c.Hosts, c.AskTimeout), cancel: cancel}
	s.tasks.Go(func() { s.run(ctx) })
	return s, nil
}

// Close ends what goes on, and gives the locks back.
func (s *Sweep) Close() {
	s.cancel()
	s.tasks.Wait()
	s.asker.close()
}

// Counts are how much was done.
func (s *Sweep) Counts() *Counts { return &s.counts }

// run has each namespace that has reporters be swept, while the node leads.
func (s *Sweep) run(ctx context.Context) {
	swept := map[string]context.CancelFunc{}
	var tasks sync.WaitGroup
	defer tasks.Wait()
	for {
		changed := s.config.Node.LeaderChanged()
		var names []string
		if s.config.Node.Leads() {
			var err error
			if names, err = s.config.Node.Swept(ctx); err != nil && ctx.Err() == nil {
				s.config.Logger.Debug("look which namespaces have reporters", "error", err)
			}
		}
		wanted := map[string]bool{}
		for _, name := range names {
			wanted[name] = true
			if swept[name] != nil {
				continue
			}
			sweeping, cancel := context.WithCancel(ctx)
			swept[name] = cancel
			tasks.Go(func() { s.sweepNamespace(sweeping, name) })
		}
		for name, cancel := range swept {
			if !wanted[name] {
				cancel()
				delete(swept, name)
			}
		}
		if !pause(ctx, changed, lookEvery) {
			for _, cancel := range swept {
				cancel()
			}
			return
		}
	}
}

// pause waits, at most until something has changed, and says whether ctx goes on.
func pause(ctx context.Context, changed <-chan struct{}, d time.Duration) bool {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-ctx.Done():
		return false
	case <-changed:
	case <-timer.C:
	}
	return ctx.Err() == nil
}

// sweepNamespace sweeps a namespace, whenever it has the lock, until ctx ends.
func (s *Sweep) sweepNamespace(ctx context.Context, namespace string) {
	c, err := s.config.Client(namespace)
	if err != nil {
		s.config.Logger.Error("reporters are not asked", "namespace", namespace, "error", err)
		return
	}
	defer c.Close()
	for ctx.Err() == nil {
		lock, err := c.Lock(ctx, Lock, client.LockOptions{
			Wait: -1, Note: "asks reporters: " + s.config.Name, Session: client.SessionConfig{TTL: lockTTL, Worker: "sweep " + s.config.Name},
		})
		if err == nil {
			n := &sweeper{Sweep: s, c: c, lock: lock, namespace: namespace, idle: map[int64]time.Time{}, asked: map[int64]asked{}, running: map[int64]bool{}}
			err = n.sweep(ctx)
			releasing, cancel := context.WithTimeout(context.WithoutCancel(ctx), time.Second)
			err = errors.Join(err, lock.Release(releasing)) // it is over with its session else
			cancel()
		}
		if err != nil && ctx.Err() == nil {
			s.config.Logger.Warn("sweep", "namespace", namespace, "error", err)
		}
		pause(ctx, nil, lookEvery)
	}
}

// sweeper sweeps a namespace under its lock.
type sweeper struct {
	*Sweep
	c         *client.Client
	lock      *client.Lock
	namespace string
	idle      map[int64]time.Time // by registration: before then nothing is looked for, for nothing was found
	asked     map[int64]asked     // by registration
	running   map[int64]bool      // by registration: it is being asked
}

// sweep asks whoever is to be asked, until the lock is lost or ctx ends. Each reporter has a goroutine while it is asked, so that one that hangs holds
// up no other; they end before this returns.
func (n *sweeper) sweep(ctx context.Context) error {
	var tasks sync.WaitGroup
	defer tasks.Wait()
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	defer context.AfterFunc(n.lock.Context(), func() { cancel(nil) })()
	over := make(chan int64, 64) // registrations whose round is over
	for {
		reporters, err := n.c.ListReporters(ctx)
		if err != nil {
			return n.unless(ctx, err)
		}
		if len(reporters) == 0 {
			return nil
		}
		for _, p := range reporters {
			now := time.Now()
			if n.running[p.Position] || !n.due(p, now) || now.Before(n.idle[p.Position]) {
				continue
			}
			n.running[p.Position], n.idle[p.Position] = true, now.Add(p.Every.AsDuration())
			tasks.Go(func() {
				if err := n.round(ctx, p); err != nil {
					cancel(err)
				}
				select {
				case over <- p.Position:
				case <-ctx.Done():
				}
			})
		}
		goesOn := pause(ctx, nil, lookEvery)
		for len(over) > 0 {
			delete(n.running, <-over)
		}
		if !goesOn {
			if cause := context.Cause(ctx); !errors.Is(cause, context.Canceled) {
				return cause
			}
			return nil
		}
	}
}

// unless is an error, unless it is that this was to end.
func (n *sweeper) unless(ctx context.Context, err error) error {
	if ctx.Err() != nil {
		return nil
	}
	return err
}

// waits is how long a reporter is not asked after it was: as long as it says, and the longer the more often it has failed in a row.
func waits(p *v1.Reporter) time.Duration {
	wait := p.Every.AsDuration()
	for range min(p.Failures, 16) {
		if wait < longestOff {
			wait = min(2*wait, longestOff)
		}
	}
	return wait
}

// asked is when a registration was asked last.
type asked struct {
	wall  time.Time // as the cluster says
	seen  time.Time // when that was seen here, by a clock that is not set
	first bool      // it was so when this sweeper began: another asked, some time before
}

// due says whether a reporter is to be asked now. Clocks that are set count once at most, when a sweeper begins: then it trusts the cluster's time of
// the last ask if by that the wait is over, and its own else.
func (n *sweeper) due(p *v1.Reporter, now time.Time) bool {
	if p.Asked == nil {
		return true
	}
	wall := p.Asked.AsTime()
	last, known := n.asked[p.Position]
	if !known || !last.wall.Equal(wall) {
		last = asked{wall, now, !known}
		n.asked[p.Position] = last
	}
	wait := waits(p)
	return now.Sub(last.seen) >= wait || last.first && now.Sub(wall) >= wait
}

// Pages of a round are paced: behind one it rests for so many times as long as that took, so that a cluster that is busy has less of it.
const (
	pacedShare = 4
	pacedRest  = 10 * time.Millisecond
)

// round asks a reporter about all runs that are out of contact with it, a page at a time. It ends with the first page that it does not answer.
func (n *sweeper) round(ctx context.Context, p *v1.Reporter) error {
	for page := ""; ; {
		began := time.Now()
		list, err := n.c.OutOfContact(ctx, p.Reporter, page)
		if err != nil {
			return ofReporter(err)
		}
		if len(list.Runs) > 0 {
			if answered, err := n.ask(ctx, p, list.Runs); err != nil || !answered {
				return ofReporter(err)
			}
		}
		if page = list.NextPage; page == "" {
			return nil
		}
		if !pause(ctx, nil, max(pacedRest, pacedShare*time.Since(began))) {
			return nil
		}
	}
}

// ofReporter is an error that is not about the reporter alone: one that was removed meanwhile is not asked, and that is all.
func ofReporter(err error) error {
	if client.IsCode(err, v1.Code_CODE_REPORTER_NOT_FOUND) {
		return nil
	}
	return err
}

// ask asks a reporter about some runs, reports what it answers, and records what came of it. An error is the cluster's.
func (n *sweeper) ask(ctx context.Context, p *v1.Reporter, runs []*v1.OutOfContact) (answered bool, err error) {
	question := &v1.AskReporter{Namespace: n.namespace, Reporter: p.Reporter, AskId: newID(), Runs: runs}
	record := &v1.RecordAskRequest{Reporter: p.Reporter, Position: p.Position, Token: n.lock.Token, AskId: question.AskId, Runs: int32(len(runs))}
	n.counts.Asked.Add(1)
	n.counts.Runs.Add(uint64(len(runs)))
	answer, err := n.asker.ask(ctx, p.Url, question)
	if ctx.Err() != nil {
		return false, nil // what it would have said, the next is told
	}
	if err != nil {
		n.counts.Failed.Add(1)
		n.config.Logger.Warn("a reporter does not answer", "namespace", n.namespace, "reporter", p.Reporter, "error", err)
		record.Error = short(err.Error())
		return false, n.c.RecordAsk(ctx, record)
	}
	n.counts.Answered.Add(1)
	if err := n.report(ctx, p, answer, record); err != nil {
		return false, err
	}
	return true, n.c.RecordAsk(ctx, record)
}

// reportAtOnce is how many observations are on their way at a time. Their order does not matter: what is kept is the newest.
const reportAtOnce = 8

// report reports what a reporter has answered. It ends with the first that the cluster does not take for another reason than what it says.
func (n *sweeper) report(ctx context.Context, p *v1.Reporter, answer *v1.ReporterAnswer, record *v1.RecordAskRequest) error {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	var tasks sync.WaitGroup
	var reported, refused atomic.Int32
	room := make(chan struct{}, reportAtOnce)
	for _, o := range answer.Observations {
		room <- struct{}{}
		if ctx.Err() != nil {
			break
		}
		o.Reporter = p.Reporter
		tasks.Go(func() {
			defer func() { <-room }()
			_, err := n.c.Report(ctx, o)
			switch refusal, is := client.AsRefusal(err); {
			case err == nil:
				reported.Add(1)
			case is && aboutObservation(refusal.Code):
				refused.Add(1)
				n.config.Logger.Debug("an observation is refused", "namespace", n.namespace, "reporter", p.Reporter, "error", err)
			default:
				cancel(err)
			}
		})
	}
	tasks.Wait()
	n.counts.Reported.Add(uint64(reported.Load()))
	n.counts.Refused.Add(uint64(refused.Load()))
	record.Observations, record.Refused = reported.Load()+refused.Load(), refused.Load()
	if ctx.Err() != nil {
		return fmt.Errorf("report what reporter %s says: %w", p.Reporter, context.Cause(ctx))
	}
	return nil
}

// aboutObservation: a refusal is of what was observed, and not of who asks, or when.
func aboutObservation(code v1.Code) bool {
	switch code {
	case v1.Code_CODE_INVALID, v1.Code_CODE_OBSERVATIONS_FULL, v1.Code_CODE_KEY_AMBIGUOUS, v1.Code_CODE_PAYLOAD_TOO_LARGE:
		return true
	}
	return false
}
