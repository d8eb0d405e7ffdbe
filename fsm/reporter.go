package fsm

import (
	"slices"
	"time"

	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/durationpb"

	"github.com/lockstep-dev/lockstep/fsm/table"
	"github.com/lockstep-dev/lockstep/jepsen/plant"
	logv1 "github.com/lockstep-dev/lockstep/proto/gen/lockstep/log/v1"
	v1 "github.com/lockstep-dev/lockstep/proto/gen/lockstep/v1"
)

// A reporter is another system that is asked about runs of which nothing was heard for a while. It is asked outside of here (the sweep), by whoever
// holds SweepLock: here is what was registered, when it was asked last, and what came of that. What it says are observations like all others.
// That it was asked is recorded under the token of the lock alone: a sweeper that has lost it records nothing any more, so that two never have
// one reporter's back-off at once. Its observations need no such check: whoever carries one, it is the same, and the newest is kept.

// sweepLevel is the cluster level from which on reporters are registered.
const sweepLevel = 28

// SweepLock is held by who asks the reporters of a namespace.
const SweepLock = "lockstep.sweep"

const (
	maxReporters      = 32 // of a namespace; all are resident
	maxReporterOf     = 64 // workflows, or steps, that one names
	defaultAskEvery   = int64(time.Minute)
	defaultOutOfReach = 5 * int64(time.Minute)
	minAskEvery       = int64(time.Second)
	maxAskEvery       = 24 * int64(time.Hour)
	minOutOfReach     = int64(time.Second)
	maxOutOfReach     = 30 * 24 * int64(time.Hour)
)

// reporter is always resident.
type reporter struct {
	ns    *namespace
	rec   *logv1.Reporter
	dirty bool
}

func (p *reporter) subject() string { return "reporter/" + p.rec.Reporter }

func (ns *namespace) addReporter(rec *logv1.Reporter) *reporter {
	p := &reporter{ns: ns, rec: rec}
	ns.reporters[rec.Reporter] = p
	ns.asked = insertSorted(ns.asked, rec.Reporter)
	return p
}

func (ns *namespace) reporter(name string) (*reporter, *Refusal) {
	if p := ns.reporters[name]; p != nil {
		return p, nil
	}
	return nil, Refuse(v1.Code_CODE_REPORTER_NOT_FOUND, "no reporter %q is registered in namespace %s", name, ns.rec.Namespace)
}

// dirtyReporter has the next flush write a reporter, or delete its row when it is gone.
func (m *Machine) dirtyReporter(p *reporter) {
	if !p.dirty {
		p.dirty = true
		m.dirty.reporters = append(m.dirty.reporters, p)
		m.dirtyBytes += 512
	}
}

// flushReporter writes what its name stands for now: another may have come in its place.
func (m *Machine) flushReporter(b *table.Batch, p *reporter) {
	p.dirty = false
	k := m.room.key(tableReporter, p.ns.rec.Namespace, p.rec.Reporter)
	if is := p.ns.reporters[p.rec.Reporter]; is != nil {
		b.Put(k, m.room.encode(is.rec))
		return
	}
	b.Delete(k)
}

func (m *Machine) loadReporters(ns *namespace) error {
	return scanRows(m.engine, key(tableReporter, ns.rec.Namespace), func() *logv1.Reporter { return &logv1.Reporter{} }, func(_ []byte, rec *logv1.Reporter) error {
		ns.addReporter(rec)
		return nil
	})
}

// registerReporter has a reporter be asked. The same again finds the first.
func (t *turn) registerReporter(r *v1.RegisterReporterRequest) (proto.Message, *Refusal) {
	rec := reporterOf(r)
	if p := t.ns.reporters[r.Reporter]; p != nil {
		if !sameReporter(p.rec, rec) {
			return nil, Refuse(v1.Code_CODE_REPORTER_EXISTS, "reporter %q is registered, and asked at %s each %s about runs of which nothing was heard for %s; remove it first", r.Reporter, p.rec.Url, time.Duration(p.rec.Every), time.Duration(p.rec.OutOfContact))
		}
		out := p.reply()
		out.Existing = true
		return out, nil
	}
	if refusal := t.checkReporter(rec); refusal != nil {
		return nil, refusal
	}
	rec.Author, rec.Reason, rec.CreatedWall, rec.Position = t.env.GetAuthor(), r.Reason, t.wall(), t.ns.rec.Position+1
	t.emit(&reporterRegistered{rec})
	return t.ns.reporters[r.Reporter].reply(), nil
}

func reporterOf(r *v1.RegisterReporterRequest) *logv1.Reporter {
	rec := &logv1.Reporter{
		Reporter: r.Reporter, Url: r.Url, Workflows: sortedOnce(r.Workflows), Steps: sortedOnce(r.Steps),
		Every: int64(r.Every.AsDuration()), OutOfContact: int64(r.OutOfContact.AsDuration()),
	}
	if rec.Every == 0 {
		rec.Every = defaultAskEvery
	}
	if rec.OutOfContact == 0 {
		rec.OutOfContact = defaultOutOfReach
	}
	return rec
}

// sortedOnce are names in their order, each once.
func sortedOnce(names []string) []string {
	out := slices.Clone(names)
	slices.Sort(out)
	return slices.Compact(out)
}

func sameReporter(a, b *logv1.Reporter) bool {
	return a.Url == b.Url && a.Every == b.Every && a.OutOfContact == b.OutOfContact && slices.Equal(a.Workflows, b.Workflows) && slices.Equal(a.Steps, b.Steps)
}

// checkReporter refuses what could never be asked, or one more than may be.
func (t *turn) checkReporter(rec *logv1.Reporter) *Refusal {
	switch n := len(t.ns.reporters); {
	case rec.Reporter == "" || rec.Url == "":
		return Refuse(v1.Code_CODE_INVALID, "a reporter has a name, and a url at which it is asked")
	case rec.Reporter == lateReporter:
		return Refuse(v1.Code_CODE_INVALID, "the reporter %q is what came too late to count; register under another name", lateReporter)
	case len(rec.Workflows) > maxReporterOf || len(rec.Steps) > maxReporterOf:
		return Refuse(v1.Code_CODE_INVALID, "a reporter names at most %d workflows, and as many steps; none is all", maxReporterOf)
	case rec.Every < minAskEvery || rec.Every > maxAskEvery:
		return Refuse(v1.Code_CODE_INVALID, "every is %s, and must be between %s and %s", time.Duration(rec.Every), time.Duration(minAskEvery), time.Duration(maxAskEvery))
	case rec.OutOfContact < minOutOfReach || rec.OutOfContact > maxOutOfReach:
		return Refuse(v1.Code_CODE_INVALID, "outOfContact is %s, and must be between %s and %s", time.Duration(rec.OutOfContact), time.Duration(minOutOfReach), time.Duration(maxOutOfReach))
	case n >= maxReporters:
		return Refuse(v1.Code_CODE_REPORTER_LIMIT, "namespace %s has %d reporters, which is the limit; remove one first", t.ns.rec.Namespace, n)
	}
	return nil
}

func (t *turn) removeReporter(r *v1.RemoveReporterRequest) (proto.Message, *Refusal) {
	p, refusal := t.ns.reporter(r.Reporter)
	if refusal != nil {
		return nil, refusal
	}
	t.emit(&reporterRemoved{p, r.Reason})
	return &v1.RemoveReporterResponse{}, nil
}

// recordAsk records that a reporter was asked, by the word of who holds SweepLock now. The same ask again changes nothing.
func (t *turn) recordAsk(r *v1.RecordAskRequest) (proto.Message, *Refusal) {
	p, refusal := t.ns.reporter(r.Reporter)
	switch {
	case refusal != nil:
		return nil, refusal
	case r.Position != p.rec.Position:
		return nil, Refuse(v1.Code_CODE_REPORTER_NOT_FOUND, "reporter %q was registered at position %d, and not at %d: what was asked is another", r.Reporter, p.rec.Position, r.Position)
	case r.AskId == "" || r.Runs < 0 || r.Observations < 0 || r.Refused < 0:
		return nil, Refuse(v1.Code_CODE_INVALID, "an ask has an id, and what it says are counts")
	case r.AskId == p.rec.AskId:
		return &v1.RecordAskResponse{Duplicate: true, Failures: p.rec.Failures}, nil
	}
	if l := t.ns.lock(t.m, SweepLock); l.holder(r.Token) == nil && !plant.Is(plant.SweepUnfenced) {
		return nil, Refuse(v1.Code_CODE_FENCED, "token %d does not hold the lock %q: another asks, or nobody does", r.Token, SweepLock).With(t.lockHolder(l))
	}
	t.emit(&reporterAsked{p, r})
	return &v1.RecordAskResponse{Failures: p.rec.Failures}, nil
}

type reporterRegistered struct{ rec *logv1.Reporter }

func (e *reporterRegistered) kind() string { return "lockstep.reporter.registered.v1" }
func (e *reporterRegistered) fill(d *v1.EventData) string {
	d.Reporter, d.Name, d.Reason, d.Per, d.Delay = e.rec.Reporter, e.rec.Url, e.rec.Reason, e.rec.Every, e.rec.OutOfContact
	return "reporter/" + e.rec.Reporter
}
func (e *reporterRegistered) evolve(t *turn) { t.m.dirtyReporter(t.ns.addReporter(e.rec)) }

type reporterRemoved struct {
	p      *reporter
	reason string
}

func (e *reporterRemoved) kind() string { return "lockstep.reporter.removed.v1" }
func (e *reporterRemoved) fill(d *v1.EventData) string {
	d.Reporter, d.Reason = e.p.rec.Reporter, e.reason
	return e.p.subject()
}
func (e *reporterRemoved) evolve(t *turn) {
	name := e.p.rec.Reporter
	delete(t.ns.reporters, name)
	if at, found := slices.BinarySearch(t.ns.asked, name); found {
		t.ns.asked = slices.Delete(t.ns.asked, at, at+1)
	}
	t.m.dirtyReporter(e.p)
}

// reporterAsked tells that a reporter was asked, and answered, or failed.
type reporterAsked struct {
	p *reporter
	r *v1.RecordAskRequest
}

func (e *reporterAsked) kind() string { return "lockstep.reporter.asked.v1" }
func (e *reporterAsked) fill(d *v1.EventData) string {
	d.Reporter, d.Token, d.Count, d.Reason = e.p.rec.Reporter, e.r.Token, e.r.Runs, e.r.Error
	d.Changed, d.Refused = int64(e.r.Observations), int64(e.r.Refused)
	return e.p.subject()
}
func (e *reporterAsked) evolve(t *turn) {
	rec := e.p.rec
	rec.AskedWall, rec.Token, rec.AskId, rec.Error = t.wall(), e.r.Token, e.r.AskId, e.r.Error
	rec.Runs, rec.Observations, rec.Refused = rec.Runs+int64(e.r.Runs), rec.Observations+int64(e.r.Observations), rec.Refused+int64(e.r.Refused)
	if rec.Error == "" {
		rec.AnsweredWall, rec.Failures = t.wall(), 0
	} else {
		rec.Failures++
	}
	t.m.dirtyReporter(e.p)
}

func (p *reporter) reply() *v1.Reporter {
	rec := p.rec
	return &v1.Reporter{
		Namespace: p.ns.rec.Namespace, Reporter: rec.Reporter, Url: rec.Url, Workflows: rec.Workflows, Steps: rec.Steps,
		Every: durationpb.New(time.Duration(rec.Every)), OutOfContact: durationpb.New(time.Duration(rec.OutOfContact)), Reason: rec.Reason, Author: rec.Author,
		Created: stamp(rec.CreatedWall), Position: rec.Position, Asked: stamp(rec.AskedWall), Answered: stamp(rec.AnsweredWall), Failures: rec.Failures, Error: rec.Error,
		Runs: rec.Runs, Observations: rec.Observations, Refused: rec.Refused, Token: rec.Token,
	}
}

// ListReporters lists the reporters that are registered, by name.
func (m *Machine) ListReporters(r *v1.ListReportersRequest) (*v1.ListReportersResponse, error) {
	m.mu.RLock()
	defer m.mu.RUnlock()
	ns, refusal := m.namespace(r.Namespace)
	if refusal != nil {
		return nil, refusal
	}
	out := &v1.ListReportersResponse{}
	for _, name := range ns.asked {
		out.Reporters = append(out.Reporters, ns.reporters[name].reply())
	}
	return out, nil
}

// Swept are the namespaces that have reporters, by name.
func (m *Machine) Swept() (names []string) {
	m.mu.RLock()
	defer m.mu.RUnlock()
	for _, name := range m.names {
		if ns := m.namespaces[name]; len(ns.asked) > 0 && ns.rec.State == v1.NamespaceState_NAMESPACE_STATE_ACTIVE {
			names = append(names, name)
		}
	}
	return names
}

// knows says whether a reporter is asked about a step of a workflow.
func (p *reporter) knows(workflow, step string) bool {
	of := func(names []string, name string) bool {
		_, found := slices.BinarySearch(names, name)
		return len(names) == 0 || found
	}
	return of(p.rec.Workflows, workflow) && of(p.rec.Steps, step)
}
