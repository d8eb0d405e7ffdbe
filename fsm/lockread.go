package fsm

import (
	"errors"
	"strings"

	"github.com/google/btree"
	"google.golang.org/protobuf/proto"

	"github.com/lockstep-dev/lockstep/fsm/table"
	logv1 "github.com/lockstep-dev/lockstep/proto/gen/lockstep/log/v1"
	v1 "github.com/lockstep-dev/lockstep/proto/gen/lockstep/v1"
)

func (m *Machine) holderOf(l *lock) *v1.Holder {
	if len(l.rec.Holders) == 0 {
		return m.longHolder(l)
	}
	h := l.rec.Holders[0]
	out := &v1.Holder{
		SessionId: sessionName(h.Session), Token: h.Token, InstanceId: h.InstanceId, Index: h.Index,
		Lock: l.rec.Lock, Note: h.Note, Since: stamp(h.SinceWall),
	}
	if s := m.sessions[h.Session]; s != nil {
		out.Remaining = remaining(s, m.group.Uptime)
	}
	if i, err := m.lookup(l.ns.rec.Namespace, h.InstanceId); h.InstanceId != "" && err == nil {
		out.Step = i.graph.Nodes[h.Node].ID
	}
	return out
}

// longHolder is who holds a lock that no run has; nil when nobody does. It has a step only where it is that step's body.
func (m *Machine) longHolder(l *lock) *v1.Holder {
	if len(l.rec.Holds) == 0 {
		return nil
	}
	h := m.heldReply(l)[0]
	return &v1.Holder{Token: h.Token, InstanceId: h.InstanceId, Step: h.Step, Index: h.Index, Lock: l.rec.Lock, Since: h.Since}
}

// readLock finds a lock for reading.
func (m *Machine) readLock(ns *namespace, name string) (*lock, error) {
	if l := ns.locks[name]; l != nil {
		return l, nil
	}
	l := &lock{ns: ns, rec: &logv1.Lock{Lock: name}, claims: btree.NewG(2, (*claim).less)}
	found, err := row(m.stored(ns.rec.Namespace), key(tableLock, ns.rec.Namespace, name), l.rec)
	if err != nil {
		return nil, err
	}
	if !found {
		return nil, Refuse(v1.Code_CODE_LOCK_NOT_FOUND, "nobody holds lock %q or waits for it", name)
	}
	return l, nil
}

// GetLock returns a lock's holders. A lock that nobody holds or waits for does not exist.
func (m *Machine) GetLock(r *v1.GetLockRequest) (*v1.Lock, error) {
	m.mu.RLock()
	defer m.mu.RUnlock()
	ns, refusal := m.namespace(r.Namespace)
	if refusal != nil {
		return nil, refusal
	}
	l, err := m.readLock(ns, r.Lock)
	if err != nil {
		return nil, err
	}
	if l.idle() {
		return nil, Refuse(v1.Code_CODE_LOCK_NOT_FOUND, "nobody holds lock %q or waits for it", r.Lock)
	}
	return m.lockReply(l), nil
}

func (m *Machine) lockReply(l *lock) *v1.Lock {
	out := &v1.Lock{Namespace: l.ns.rec.Namespace, Lock: l.rec.Lock, Waiters: int64(l.claims.Len())}
	out.Limit, _ = l.limit()
	if l.taken() {
		out.Token = l.rec.Token
	}
	for _, h := range l.rec.Holders {
		holder := &v1.LockHolder{
			Token: h.Token, SessionId: sessionName(h.Session), InstanceId: h.InstanceId, Index: h.Index,
			Shared: h.Shared, Take: h.Take, Note: h.Note, Since: stamp(h.SinceWall),
		}
		if len(h.Slots) > 0 {
			holder.Slot = h.Slots[0]
		}
		if i, err := m.lookup(out.Namespace, h.InstanceId); h.InstanceId != "" && err == nil {
			holder.Step = i.graph.Nodes[h.Node].ID
		}
		out.Holders = append(out.Holders, holder)
	}
	out.Held = m.heldReply(l)
	return out
}

// ListLocks lists the locks that somebody holds, by name.
func (m *Machine) ListLocks(r *v1.ListLocksRequest) (*v1.ListLocksResponse, error) {
	snapshot, err := m.view()
	if err != nil {
		return nil, err
	}
	defer snapshot.Close()
	m.mu.RLock()
	defer m.mu.RUnlock()
	ns, refusal := m.namespace(r.Namespace)
	if refusal != nil {
		return nil, refusal
	}
	from, all := key(tableLock, ns.rec.Namespace), key(tableLock, ns.rec.Namespace)
	if r.Page != "" {
		from = append(key(tableLock, ns.rec.Namespace, r.Page), 0)
	}
	out := &v1.ListLocksResponse{}
	var failed error
	err = snapshot.Scan(from, table.End(all), func(_, value []byte) bool {
		rec := &logv1.Lock{}
		if failed = proto.Unmarshal(value, rec); failed != nil {
			return false
		}
		if !strings.HasPrefix(rec.Lock, r.Prefix) || len(rec.Holders)+len(rec.Holds) == 0 {
			return true
		}
		if len(out.Locks) >= pageLimit(r.Limit) {
			out.NextPage = out.Locks[len(out.Locks)-1].Lock
			return false
		}
		l := ns.locks[rec.Lock]
		if l == nil {
			l = &lock{ns: ns, rec: rec, claims: btree.NewG(2, (*claim).less)}
		}
		out.Locks = append(out.Locks, m.lockReply(l))
		return true
	})
	return out, errors.Join(err, failed)
}

// CheckToken says whether a token holds now: the named lock, or else any lease.
func (m *Machine) CheckToken(r *v1.CheckTokenRequest) (*v1.CheckTokenResponse, error) {
	m.mu.RLock()
	defer m.mu.RUnlock()
	ns, refusal := m.namespace(r.Namespace)
	if refusal != nil {
		return nil, refusal
	}
	if r.Lock == "" {
		_, holds := ns.leases[r.Token]
		return &v1.CheckTokenResponse{Holds: holds}, nil
	}
	l, err := m.readLock(ns, r.Lock)
	var none *Refusal
	if errors.As(err, &none) {
		return &v1.CheckTokenResponse{}, nil
	}
	if err != nil {
		return nil, err
	}
	return &v1.CheckTokenResponse{Holds: l.isHeldUnder(r.Token), Holder: m.holderOf(l)}, nil
}
