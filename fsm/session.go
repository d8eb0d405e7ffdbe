package fsm

import (
	"cmp"
	"slices"
	"strconv"
	"time"

	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/durationpb"

	"github.com/lockstep-dev/lockstep/jepsen/plant"
	logv1 "github.com/lockstep-dev/lockstep/proto/gen/lockstep/log/v1"
	v1 "github.com/lockstep-dev/lockstep/proto/gen/lockstep/v1"
)

// session is a client's liveness. It is always resident, and so are its leases and waits.
type session struct {
	ns    *namespace
	rec   *logv1.Session
	waits []*wait // oldest first
	dirty bool
}

// leaseRef says what a token holds: a run, or a lock by a session itself.
type leaseRef struct {
	session  int64
	instance string
	at       at
	lock     string
}

const (
	minTTL     = int64(time.Second)
	maxTTL     = int64(time.Hour)
	defaultTTL = 10 * int64(time.Second)
)

func sessionName(id int64) string { return strconv.FormatInt(id, 10) }

// sessionID is the id of a session's name; zero, which no session has, when it is none.
func sessionID(name string) int64 {
	if name == "" { // as in most commands: an error would be made for each
		return 0
	}
	id, err := strconv.ParseInt(name, 10, 64)
	if err != nil {
		return 0
	}
	return id
}

// session finds a live session of the command's namespace.
func (t *turn) session(id int64) (*session, *Refusal) {
	s := t.m.sessions[id]
	if s == nil || s.ns != t.ns {
		return nil, expired(id)
	}
	return s, nil
}

func expired(id int64) *Refusal {
	return Refuse(v1.Code_CODE_SESSION_EXPIRED, "session %s has ended or never was; open a new one", sessionName(id))
}

func (m *Machine) dirtySession(s *session) {
	if !s.dirty {
		s.dirty = true
		m.dirty.sessions = append(m.dirty.sessions, s.rec.Session)
		m.dirtyBytes += 256
	}
}

func (m *Machine) loadSession(rec *logv1.Session) {
	s := &session{ns: m.namespaces[rec.Namespace], rec: rec}
	m.sessions[rec.Session] = s
	m.deadlines.add(s.deadline())
	for _, lease := range rec.Leases {
		s.ns.leases[lease.Token] = s.ref(lease)
	}
	for _, w := range rec.Waits {
		s.waits = append(s.waits, &wait{session: s, rec: w})
		m.lineWait(s.waits[len(s.waits)-1])
	}
}

func (s *session) deadline() deadline {
	return deadline{at: s.rec.ExpireAt, kind: deadlineSession, session: s.rec.Session}
}

func (s *session) ref(lease *logv1.Lease) leaseRef {
	return leaseRef{session: s.rec.Session, instance: lease.InstanceId, at: atOf(lease), lock: lease.Lock}
}

func (t *turn) addLease(s *session, lease *logv1.Lease) {
	s.rec.Leases = append(s.rec.Leases, lease)
	t.ns.leases[lease.Token] = s.ref(lease)
	t.m.dirtySession(s)
	t.m.dirtyNamespace(t.ns)
}

// dropLease takes a lease from its session, whose leases are in the order of their tokens: each was granted after those
// before it.
func (m *Machine) dropLease(ns *namespace, token int64) {
	ref, ok := ns.leases[token]
	if !ok {
		return
	}
	delete(ns.leases, token)
	if s := m.sessions[ref.session]; s != nil {
		at, found := slices.BinarySearchFunc(s.rec.Leases, token, func(l *logv1.Lease, token int64) int { return cmp.Compare(l.Token, token) })
		if found {
			s.rec.Leases = slices.Delete(s.rec.Leases, at, at+1)
		}
		m.dirtySession(s)
	}
}

func (t *turn) openSession(r *logv1.OpenSession) (proto.Message, *Refusal) {
	ttl := r.Ttl
	if ttl == 0 {
		ttl = defaultTTL
	}
	if ttl < minTTL || ttl > maxTTL {
		return nil, Refuse(v1.Code_CODE_INVALID, "a session's ttl is between 1s and 1h; %s is not", time.Duration(ttl))
	}
	id := t.m.group.LastSession + 1
	t.emit(&sessionOpened{&logv1.Session{
		Session: id, Namespace: t.ns.rec.Namespace, Ttl: ttl, ExpireAt: t.uptime() + ttl, Worker: r.Worker,
		OpenedWall: t.wall(), Author: t.env.Author, LowestUnanswered: 1,
	}})
	return t.m.sessions[id].reply(t.uptime()), nil
}

func remaining(s *session, uptime int64) *durationpb.Duration {
	return durationpb.New(elapsed(uptime, s.rec.ExpireAt))
}

func (s *session) reply(uptime int64) *v1.Session {
	out := &v1.Session{
		Namespace: s.rec.Namespace, SessionId: sessionName(s.rec.Session), Ttl: durationpb.New(time.Duration(s.rec.Ttl)),
		Remaining: remaining(s, uptime), Worker: s.rec.Worker, Opened: stamp(s.rec.OpenedWall),
	}
	for _, lease := range s.rec.Leases {
		out.Tokens = append(out.Tokens, lease.Token)
	}
	return out
}

// renew keeps a session alive for another TTL. Renewals come before everything else in an entry. A lease that
// two renewals in a row leave out was never heard of by its holder: it is given back.
func (t *turn) renew(r *logv1.Renewal) RenewalOutcome {
	ns, refusal := t.m.namespace(r.Namespace)
	if refusal != nil {
		return RenewalOutcome{Refusal: refusal.Detail}
	}
	t.ns, t.cmd, t.env = ns, nil, nil
	s, refusal := t.session(r.Session)
	if refusal != nil {
		return RenewalOutcome{Refusal: refusal.Detail}
	}
	t.m.deadlines.drop(s.deadline())
	s.rec.ExpireAt = t.uptime() + s.rec.Ttl
	if plant.Is(plant.LocalState) {
		s.rec.ExpireAt += plant.Mono() % 1000
	}
	t.m.deadlines.add(s.deadline())
	t.m.dirtySession(s)
	reply := &v1.KeepAliveResponse{Ttl: durationpb.New(time.Duration(s.rec.Ttl))}
	var orphans []leaseRef
	for _, lease := range s.rec.Leases {
		if lease.Cancelling {
			reply.Cancelled = append(reply.Cancelled, lease.Token)
		}
		if !r.TokensComplete || slices.Contains(r.Tokens, lease.Token) {
			lease.Omitted = 0
		} else if lease.Omitted++; lease.Omitted >= 2 && !plant.Is(plant.OrphanKept) {
			orphans = append(orphans, s.ref(lease))
		}
	}
	for _, token := range r.Tokens {
		if ref, ok := ns.leases[token]; !ok || ref.session != s.rec.Session {
			reply.Lost = append(reply.Lost, token)
		}
	}
	for _, ref := range orphans {
		t.orphan(s, ref)
	}
	t.settle()
	return RenewalOutcome{Reply: reply}
}

func (t *turn) orphan(s *session, ref leaseRef) {
	if ref.lock != "" {
		t.endHolds(s, func(l *logv1.Lease) bool { return l.Lock == ref.lock && l.Omitted >= 2 })
		return
	}
	i, refusal := t.instance(ref.instance)
	must(refusalError(refusal))
	t.giveBack(i, ref.at, "orphan", "its holder never heard of the lease")
}

// endHolds ends a session's own holds that pick chooses.
func (t *turn) endHolds(s *session, pick func(*logv1.Lease) bool) {
	for _, lease := range slices.Clone(s.rec.Leases) {
		if lease.Lock != "" && pick(lease) {
			t.releaseHeld(s.ref(lease), lease.Token)
		}
	}
}

// closeSession ends a session at its client's word: its leases are given back.
func (t *turn) closeSession(r *logv1.CloseSession) (proto.Message, *Refusal) {
	s, refusal := t.session(r.Session)
	if refusal != nil {
		return nil, refusal
	}
	t.endSession(s, "lockstep.session.closed.v1", r.Reason)
	return &v1.CloseSessionResponse{}, nil
}

// expireSession ends a session whose TTL passed: its leases lapse.
func (t *turn) expireSession(s *session) {
	t.ns = s.ns
	t.endSession(s, "lockstep.session.expired.v1", "its ttl passed")
}

// endSession drops what the session waits for, lapses or gives back its runs, and frees its locks: all in
// one command.
func (t *turn) endSession(s *session, kind, reason string) {
	t.emit(&sessionEnded{s: s, how: kind, reason: reason})
	for len(s.waits) > 0 {
		t.answer(s.waits[0], nil, expired(s.rec.Session))
	}
	leases := slices.Clone(s.rec.Leases)
	if plant.Is(plant.MapOrder) {
		leases = plant.Shuffled(leases)
	}
	for _, lease := range leases {
		if lease.Lock != "" {
			continue
		}
		i, refusal := t.instance(lease.InstanceId)
		must(refusalError(refusal))
		if kind == "lockstep.session.closed.v1" {
			t.giveBack(i, atOf(lease), "release", "its session was closed")
		} else {
			t.lapse(i, atOf(lease), "SESSION_EXPIRED")
		}
	}
	t.endHolds(s, func(*logv1.Lease) bool { return true })
	t.m.dropSession(s)
}

func (m *Machine) dropSession(s *session) {
	for _, lease := range s.rec.Leases {
		delete(s.ns.leases, lease.Token)
	}
	m.deadlines.drop(s.deadline())
	m.dirtySession(s)
	delete(m.sessions, s.rec.Session)
}

// sessionsOf lists a namespace's sessions, oldest first.
func (m *Machine) sessionsOf(ns *namespace) []int64 {
	var ids []int64
	for d := range m.deadlines.all() {
		if d.kind == deadlineSession && m.sessions[d.session].ns == ns {
			ids = append(ids, d.session)
		}
	}
	slices.Sort(ids)
	return ids
}

type sessionOpened struct{ rec *logv1.Session }

func (e *sessionOpened) kind() string { return "lockstep.session.opened.v1" }
func (e *sessionOpened) fill(d *v1.EventData) string {
	d.SessionId, d.Name, d.Delay = sessionName(e.rec.Session), e.rec.Worker, e.rec.Ttl
	return "session/" + d.SessionId
}
func (e *sessionOpened) evolve(t *turn) {
	t.m.group.LastSession = e.rec.Session
	s := &session{ns: t.ns, rec: e.rec}
	t.m.sessions[e.rec.Session] = s
	t.m.deadlines.add(s.deadline())
	t.m.dirtySession(s)
}

type sessionEnded struct {
	s           *session
	how, reason string
}

func (e *sessionEnded) kind() string { return e.how }
func (e *sessionEnded) fill(d *v1.EventData) string {
	d.SessionId, d.Name, d.Reason = sessionName(e.s.rec.Session), e.s.rec.Worker, e.reason
	return "session/" + d.SessionId
}
func (e *sessionEnded) evolve(t *turn) { t.m.dirtySession(e.s) }

// ListSessions lists live sessions by id.
func (m *Machine) ListSessions(r *v1.ListSessionsRequest) (*v1.ListSessionsResponse, error) {
	m.mu.RLock()
	defer m.mu.RUnlock()
	ns, refusal := m.namespace(r.Namespace)
	if refusal != nil {
		return nil, refusal
	}
	out := &v1.ListSessionsResponse{}
	for _, id := range m.sessionsOf(ns) {
		if id <= sessionID(r.Page) {
			continue
		}
		if len(out.Sessions) == pageLimit(r.Limit) {
			out.NextPage = out.Sessions[len(out.Sessions)-1].SessionId
			break
		}
		out.Sessions = append(out.Sessions, m.sessions[id].reply(m.group.Uptime))
	}
	return out, nil
}

// SessionName is a session's id as clients write it.
func SessionName(id int64) string { return sessionName(id) }

// ParseSession reads a session's name; ok is false when it can be none.
func ParseSession(name string) (id int64, ok bool) {
	id = sessionID(name)
	return id, id > 0 && sessionName(id) == name
}
