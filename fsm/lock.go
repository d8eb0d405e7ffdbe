package fsm

import (
	"cmp"
	"fmt"
	"slices"

	"github.com/google/btree"
	"google.golang.org/protobuf/proto"

	"github.com/lockstep-dev/lockstep/fsm/table"
	"github.com/lockstep-dev/lockstep/jepsen/plant"
	logv1 "github.com/lockstep-dev/lockstep/proto/gen/lockstep/log/v1"
	v1 "github.com/lockstep-dev/lockstep/proto/gen/lockstep/v1"
)

// lock is a named dependency lock. It exists while somebody holds it, waits for it, or has a lapsed place in it.
type lock struct {
	ns  *namespace
	rec *logv1.Lock
	// claims are all that wait for it: runs whose claim includes it and is parked, and sessions' own waits.
	claims *btree.BTreeG[*claim]
	dirty  bool
	stored bool // the engine has a row
}

// claim is what somebody wants of a lock. Lower goes first.
type claim struct {
	order, seq int64
	run        runKey
	wait       *wait // a session's own
	want       *logv1.ClaimedLock
	queue      *queue
	parked     bool  // this is the lock that it waits at
	skippedAt  int64 // when it was first passed over
}

func (a *claim) less(b *claim) bool {
	var wa, wb uint64
	if a.wait != nil {
		wa = a.wait.rec.WaitId
	}
	if b.wait != nil {
		wb = b.wait.rec.WaitId
	}
	return cmp.Or(cmp.Compare(a.order, b.order), cmp.Compare(a.seq, b.seq), a.run.compare(&b.run), cmp.Compare(wa, wb)) < 0
}

// lock finds a lock, or a free one of the name. There is one object of a name, and it leaves memory in a flush alone, where
// no command is being decided: whoever has it in hand has the lock. One that nobody uses goes with the next flush.
func (ns *namespace) lock(m *Machine, name string) *lock {
	if l := ns.locks[name]; l != nil {
		return l
	}
	l := &lock{ns: ns, rec: &logv1.Lock{Lock: name}, claims: btree.NewWithFreeListG(8, (*claim).less, m.claims)}
	var err error
	l.stored, err = row(m.stored(ns.rec.Namespace), key(tableLock, ns.rec.Namespace, name), l.rec)
	must(err)
	ns.locks[name] = l
	m.dirtyLock(l)
	return l
}

// idle: nobody holds it, waits for it, or has a place in it.
func (l *lock) idle() bool { return !l.taken() && l.claims.Len() == 0 }

// leave takes a claim from those that wait for the lock.
func (m *Machine) leave(l *lock, c *claim) {
	l.claims.Delete(c)
	m.dirtyLock(l)
}

// dirtyLock has the next flush look at a lock: it writes what changed of it, and lets go of what nobody uses.
func (m *Machine) dirtyLock(l *lock) {
	if !l.dirty {
		l.dirty = true
		m.dirty.locks = append(m.dirty.locks, l)
		m.dirtyBytes += 128
	}
}

func (m *Machine) flushLock(b *table.Batch, l *lock) {
	k := m.room.key(tableLock, l.ns.rec.Namespace, l.rec.Lock)
	l.dirty = false
	switch {
	case l.taken():
		b.Put(k, m.room.encode(l.rec))
		l.stored = true
		return
	case l.stored:
		b.Delete(k)
		l.stored = false
	}
	if l.idle() {
		delete(l.ns.locks, l.rec.Lock)
	}
}

// taken: somebody holds it, or has a lapsed place in it. Only then does it have a row; claims have theirs.
func (l *lock) taken() bool {
	return len(l.rec.Holders) > 0 || len(l.rec.Lapsed) > 0 || len(l.rec.Holds) > 0
}

// limit is that of those who use the lock, and whether anybody does.
func (l *lock) limit() (limit int32, used bool) {
	if l.taken() {
		return l.rec.Limit, true
	}
	first, used := l.claims.Min()
	if !used {
		return 0, false
	}
	return first.want.Limit, true
}

// differs: the lock is in use with another limit.
func (l *lock) differs(want *logv1.ClaimedLock) bool {
	limit, used := l.limit()
	return used && limit != want.Limit
}

func (l *lock) sayLimit(want *logv1.ClaimedLock) string {
	limit, _ := l.limit()
	return fmt.Sprintf("lock %q is in use with limit %d, and limit %d is asked for", l.rec.Lock, limit, want.Limit)
}

func (l *lock) holder(token int64) *logv1.LockHolder {
	for _, h := range l.rec.Holders {
		if h.Token == token {
			return h
		}
	}
	return nil
}

func taken(holders []*logv1.LockHolder) int32 {
	var n int32
	for _, h := range holders {
		n += h.Take
	}
	return n
}

// fits: the holders leave room.
func (l *lock) fits(want *logv1.ClaimedLock) bool {
	if want.Limit > 0 {
		return taken(l.rec.Holders)+want.Take <= want.Limit
	}
	if !want.Shared {
		return len(l.rec.Holders) == 0
	}
	return !slices.ContainsFunc(l.rec.Holders, func(h *logv1.LockHolder) bool { return !h.Shared })
}

type busyness uint8

const (
	free busyness = iota
	held
	reserved
)

// patience is how long a claim may be passed over before no younger incompatible one passes it any more.
const patience = 5_000_000_000

// retryReserved is when a claim on a lock that is free and reserved is tried again: the older claim may have
// lost who would take it, of which the lock hears nothing.
const retryReserved = 1_000_000_000

// open says whether those who have a lock leave room for who asks for it.
func (m *Machine) open(l *lock, asking *claim) bool {
	return l.fits(asking.want) && (len(l.rec.Holds) == 0 || !m.shutOut(l, asking))
}

// busy says whether a claim must wait: for the holders, or for an older claim that was first passed over
// five seconds ago and that somebody still waits to take. So nothing starves, and a queue without workers
// blocks nobody.
func (m *Machine) busy(l *lock, asking *claim) busyness {
	if !m.open(l, asking) {
		return held
	}
	verdict := free
	l.claims.Ascend(func(c *claim) bool {
		if !c.less(asking) {
			return false
		}
		if c.run == asking.run && c.wait == nil || c.skippedAt == 0 || c.skippedAt+patience > m.group.Uptime {
			return true
		}
		if l.conflict(c.want, asking.want) && (c.wait != nil || m.wanted(c.run, c.queue)) && !m.barred(l, c) {
			verdict = reserved
		}
		return verdict == free
	})
	return verdict
}

// conflict: the two cannot both be granted now.
func (l *lock) conflict(a, b *logv1.ClaimedLock) bool {
	if a.Limit > 0 {
		return taken(l.rec.Holders)+a.Take+b.Take > a.Limit
	}
	return !a.Shared || !b.Shared
}

// wake offers a lock that has room to what is parked at it, oldest first.
func (t *turn) wake(l *lock) {
	var parked []*claim
	l.claims.Ascend(func(c *claim) bool {
		if c.parked {
			parked = append(parked, c)
		}
		return true
	})
	for _, c := range parked {
		if !t.m.open(l, c) {
			continue
		}
		if c.wait != nil {
			t.grantLock(l, c.wait)
			continue
		}
		i, refusal := t.instance(c.run.instance)
		must(refusalError(refusal))
		w := t.m.firstWait(c.run, c.queue)
		if w == nil {
			t.unpark(i, c.run.at)
			continue
		}
		t.grant(i, c.run.at, w)
	}
}

// firstWait is who takes the run next: who waits for it by name, else the first of its queue.
func (m *Machine) firstWait(k runKey, q *queue) *wait {
	if named := m.named[k]; len(named) > 0 {
		return named[0]
	}
	w, _ := q.waits.Min()
	return w
}

// acquireLock grants a lock to a session itself, or waits for it.
func (t *turn) acquireLock(r *logv1.AcquireLock) (proto.Message, *Refusal) {
	s, refusal := t.session(r.Session)
	if refusal != nil {
		return nil, refusal
	}
	want := &logv1.ClaimedLock{Lock: r.Lock, Shared: r.Shared, Limit: r.Limit, Take: max(1, r.Take)}
	l := t.ns.lock(t.m, r.Lock)
	switch {
	case r.Lock == "":
		return nil, Refuse(v1.Code_CODE_INVALID, "a lock needs a name")
	case want.Limit > 0 && (want.Shared || want.Take > want.Limit):
		return nil, Refuse(v1.Code_CODE_INVALID, "lock %q: take %d of limit %d cannot be granted", r.Lock, want.Take, want.Limit)
	case want.Limit == 0 && want.Take > 1:
		return nil, Refuse(v1.Code_CODE_INVALID, "lock %q: take %d needs a limit", r.Lock, want.Take)
	case l.differs(want):
		return nil, Refuse(v1.Code_CODE_LOCK_LIMIT_DIFFERS, "%s", l.sayLimit(want))
	}
	asking := &claim{order: t.uptime(), seq: t.m.group.LastWait + 1, want: want}
	verdict := t.m.busy(l, asking)
	if verdict == free {
		return t.lockGranted(l, want, s, r.Note), nil
	}
	if r.Wait <= 0 {
		return nil, Refuse(v1.Code_CODE_LOCK_HELD, "lock %q is held", r.Lock).With(t.lockHolder(l))
	}
	if t.closesCycle(s, l) {
		return nil, Refuse(v1.Code_CODE_DEADLOCK, "waiting for lock %q would close a cycle of waits: its holder waits for a lock of this session", r.Lock).With(t.lockHolder(l))
	}
	w := &logv1.Wait{Lock: want, Note: r.Note, SkippedAt: max(1, t.uptime())}
	if verdict == reserved {
		w.RetryAt = t.uptime() + retryReserved
	}
	t.addWait(s, w, r.Wait)
	return nil, nil
}

func (t *turn) lockGranted(l *lock, want *logv1.ClaimedLock, s *session, note string) *v1.AcquireLockResponse {
	h := &logv1.LockHolder{Token: t.ns.rec.Token + 1, Session: s.rec.Session, Note: note}
	t.emit(&lockGranted{lock: l, want: want, holder: h, session: s})
	grant := &v1.LockGrant{Lock: want.Lock, Shared: want.Shared, Take: want.Take}
	if len(h.Slots) > 0 {
		grant.Slot = h.Slots[0]
	}
	return &v1.AcquireLockResponse{Token: h.Token, Grant: grant}
}

// grantLock answers a session's wait, if nothing stands in the way.
func (t *turn) grantLock(l *lock, w *wait) {
	switch t.m.busy(l, w.claim()) {
	case held:
		return
	case reserved:
		t.m.unlineWait(w)
		w.rec.RetryAt = t.uptime() + retryReserved
		t.m.lineWait(w)
		t.m.dirtySession(w.session)
		return
	}
	t.m.unlineWait(w)
	t.answer(w, t.lockGranted(l, w.rec.Lock, w.session, w.rec.Note), nil)
}

// closesCycle follows the wait-for graph from a lock's holders: sessions hold, sessions wait. What instances hold is not followed here:
// a session waits for a minute at most (deadlock.go).
func (t *turn) closesCycle(s *session, l *lock) bool {
	seen := []int64{}
	open := []*lock{l}
	for len(open) > 0 {
		next := open[0]
		open = open[1:]
		for _, h := range next.rec.Holders {
			if h.Session == s.rec.Session {
				return true
			}
			if slices.Contains(seen, h.Session) || t.m.sessions[h.Session] == nil {
				continue
			}
			seen = append(seen, h.Session)
			for _, w := range t.m.sessions[h.Session].waits {
				if w.rec.Lock != nil {
					open = append(open, t.ns.lock(t.m, w.rec.Lock.Lock))
				}
			}
		}
	}
	return false
}

// releaseLock gives a session's own lock back.
func (t *turn) releaseLock(r *v1.ReleaseLockRequest) (proto.Message, *Refusal) {
	if r.Token <= 0 || r.Token > t.ns.rec.Token {
		return nil, Refuse(v1.Code_CODE_TOKEN_UNKNOWN, "token %d was never issued", r.Token)
	}
	l := t.ns.lock(t.m, r.Lock)
	h := l.holder(r.Token)
	if plant.Is(plant.ReleaseIgnoresToken) && h == nil && len(l.rec.Holders) > 0 {
		h = l.rec.Holders[0]
		r.Token = h.Token
	}
	switch {
	case h == nil:
		return nil, Refuse(v1.Code_CODE_FENCED, "token %d does not hold lock %q any more", r.Token, r.Lock).With(t.lockHolder(l))
	case h.InstanceId != "":
		return nil, Refuse(v1.Code_CODE_INVALID, "lock %q is part of the claim of a run of instance %q; it is freed when that run ends", r.Lock, h.InstanceId)
	}
	t.releaseHeld(leaseRef{session: h.Session, lock: r.Lock}, r.Token)
	return &v1.ReleaseLockResponse{}, nil
}

// releaseHeld ends a session's hold on a lock, and wakes what waits.
func (t *turn) releaseHeld(ref leaseRef, token int64) {
	l := t.ns.lock(t.m, ref.lock)
	if h := l.holder(token); h != nil {
		t.emit(&lockReleased{lock: l, holder: h})
	}
	t.wake(l)
}

// lockHolder says who stands in the way at a lock; nil when nobody does.
func (t *turn) lockHolder(l *lock) *v1.Holder { return t.m.holderOf(l) }

// lockGranted gives somebody a place in a lock. Lapsed places that it needs are lost to those who had them:
// their late completions are refused from now on.
type lockGranted struct {
	lock    *lock
	want    *logv1.ClaimedLock
	holder  *logv1.LockHolder
	session *session // set when the session itself holds it
}

func (e *lockGranted) kind() string { return "lockstep.lock.granted.v1" }
func (e *lockGranted) fill(d *v1.EventData) string {
	fillHolder(d, e.lock, e.holder)
	d.Reason = e.holder.Note
	return "lock/" + e.lock.rec.Lock
}
func (e *lockGranted) evolve(t *turn) {
	l, h := e.lock, e.holder
	h.Shared, h.Take, h.SinceWall = e.want.Shared, e.want.Take, t.wall()
	l.rec.Limit = e.want.Limit
	if e.session != nil {
		t.ns.rec.Token = h.Token
		t.m.dirtyNamespace(t.ns)
		t.addLease(e.session, &logv1.Lease{Token: h.Token, Lock: l.rec.Lock, GrantedAt: t.uptime()})
	}
	t.needPlaces(l, e.want)
	if e.want.Limit > 0 {
		h.Slots = l.freeSlots(e.want)
	}
	l.rec.Holders = append(l.rec.Holders, h)
	l.rec.Token = h.Token
	t.m.dirtyLock(l)
}

// needPlaces takes the lapsed places that a new holder needs, the oldest first. Who loses one place loses the late
// completion, and so every other place too.
func (t *turn) needPlaces(l *lock, want *logv1.ClaimedLock) {
	for !plant.Is(plant.LateAfterLock) {
		at := slices.IndexFunc(l.rec.Lapsed, func(h *logv1.LockHolder) bool {
			if want.Limit > 0 {
				return taken(l.rec.Holders)+want.Take+taken(l.rec.Lapsed) > want.Limit
			}
			return !want.Shared || !h.Shared
		})
		if at < 0 {
			return
		}
		h := l.rec.Lapsed[at]
		i, refusal := t.instance(h.InstanceId)
		must(refusalError(refusal))
		t.dropLapsed(i, atOf(h))
		t.m.change(i, atOf(h), func(r *run) { r.Lapsed = false })
	}
}

// freeSlots are the lowest numbers that no holder has.
func (l *lock) freeSlots(want *logv1.ClaimedLock) []int32 {
	used := make([]bool, want.Limit+1)
	for _, h := range l.rec.Holders {
		for _, slot := range h.Slots {
			if int(slot) < len(used) {
				used[slot] = true
			}
		}
	}
	var slots []int32
	for slot := int32(1); slot <= want.Limit && len(slots) < int(want.Take); slot++ {
		if !used[slot] {
			slots = append(slots, slot)
		}
	}
	return slots
}

// lockReleased frees a place. A lapsed one is remembered until it is needed.
type lockReleased struct {
	lock   *lock
	holder *logv1.LockHolder
	lapsed bool
}

func (e *lockReleased) kind() string { return "lockstep.lock.released.v1" }
func (e *lockReleased) fill(d *v1.EventData) string {
	fillHolder(d, e.lock, e.holder)
	return "lock/" + e.lock.rec.Lock
}
func (e *lockReleased) evolve(t *turn) {
	l := e.lock
	l.rec.Holders = slices.DeleteFunc(l.rec.Holders, func(h *logv1.LockHolder) bool { return h == e.holder })
	if e.lapsed {
		l.rec.Lapsed = append(l.rec.Lapsed, e.holder)
	}
	if e.holder.InstanceId == "" {
		t.m.dropLease(t.ns, e.holder.Token)
	}
	t.m.dirtyLock(l)
}

func fillHolder(d *v1.EventData, l *lock, h *logv1.LockHolder) {
	d.Lock, d.Token, d.SessionId, d.InstanceId = l.rec.Lock, h.Token, sessionName(h.Session), h.InstanceId
	d.Shared, d.Take = h.Shared, h.Take
	if len(h.Slots) > 0 {
		d.Slot = h.Slots[0]
	}
}
