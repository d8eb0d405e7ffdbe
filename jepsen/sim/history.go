package sim

import (
	"bytes"
	"encoding/binary"
	"time"

	"github.com/lockstep-dev/lockstep/fsm"
	"github.com/lockstep-dev/lockstep/jepsen/model"
	logv1 "github.com/lockstep-dev/lockstep/proto/gen/lockstep/log/v1"
)

// history is what happened: the log as it was committed, what it came to, and what clients were told. It checks as it goes.
type history struct {
	w     *world
	model *model.State
	times *times
	// By index, from 1: the entry, and what its application came to.
	log     []*entry
	sums    []uint64
	digests [][]byte
	events  []uint64 // by position, from 1: the sum of each
	// What calls came to, by their id, until nobody can ask any more; renewals by session: the newest entry that has one.
	calls   map[uint64]outcome
	renewed map[int64]uint64
	// floor is the newest entry whose effects somebody was told of.
	floor uint64
	// wall is the newest time of day that an entry told, and jumps counts those that told an earlier one.
	wall   int64
	jumps  uint64
	kept   uint64 // the newest entry that a majority's disks were found to have
	buffer []byte // of messages that are summed
	// answers are the sums of the entry at hand.
	answers answerSums
}

type outcome struct {
	index uint64
	sum   uint64
}

// op is an operation of a client, from its beginning to its answer.
type op struct {
	client *client
	kind   string
	floor  uint64 // all that was acknowledged before it began
	began  time.Duration
}

func newHistory(w *world) *history {
	h := &history{w: w, model: model.New(), calls: map[uint64]outcome{}, renewed: map[int64]uint64{}}
	h.times = newTimes(h)
	return h
}

// committed has an entry at its index: everywhere the same.
func (h *history) committed(n *node, e *entry) (first bool) {
	if e.index <= uint64(len(h.log)) {
		if h.log[e.index-1] != e {
			h.w.fail("S3", "node %d has another entry %d than was committed: one of term %d instead of term %d", n.id, e.index, e.term, h.log[e.index-1].term)
		}
		return false
	}
	if e.index != uint64(len(h.log))+1 {
		h.w.fail("S3", "entry %d is committed behind entry %d", e.index, len(h.log))
	}
	h.log = append(h.log, e)
	h.sums = append(h.sums, 0)
	var last []byte
	if len(h.digests) > 0 {
		last = h.digests[len(h.digests)-1]
	}
	h.digests = append(h.digests, last)
	return true
}

// tells is before a node tells anybody what came of an entry: it is on a majority's disks, and what is told is not lost
// whatever fails next, short of these disks.
func (h *history) tells(n *node, index uint64) {
	if index <= h.kept {
		return
	}
	e, have := h.log[index-1], 0
	for _, o := range h.w.nodes {
		if o.disk.has(e) {
			have++
		}
	}
	if have <= len(h.w.nodes)/2 {
		h.w.fail("S3", "node %d tells of entry %d, which %d of %d disks have", n.id, index, have, len(h.w.nodes))
	}
	h.kept = index
}

// denied: whoever was told that a command was not done, and not that nobody knows, does not find it in the log.
func (h *history) denied(c *serverCall) {
	if c.denied && c.logged > 0 {
		h.w.fail("S5", "node %d says of a command that it was not done, and entry %d has it", c.n.id, c.logged)
	}
}

// next takes in what an entry asks for, if it was not applied anywhere yet.
func (h *history) next(e *entry, decoded *logv1.Entry) *model.Entry {
	if e.index <= uint64(len(h.log)) {
		return nil
	}
	if at := decoded.Header.Wall; at < h.wall {
		h.jumps++
	} else {
		h.wall = at
	}
	return asked(e, decoded)
}

// applied takes in what an entry came to on a node.
func (h *history) applied(n *node, e *entry, m *model.Entry, result *fsm.Result) {
	first := h.committed(n, e)
	if result.Skipped {
		return
	}
	_, digest := n.machine.Digest()
	sums, total := h.total(result)
	if !first {
		if h.w.config.Trace != nil && !bytes.Equal(digest, h.digests[e.index-1]) {
			h.w.tell("node %d: %+v", n.id, result.Events())
		}
		if !bytes.Equal(digest, h.digests[e.index-1]) {
			h.w.fail("S7", "node %d has another digest at entry %d than another node", n.id, e.index)
		}
		if total != h.sums[e.index-1] {
			h.w.fail("S7", "node %d answers entry %d otherwise than another node", n.id, e.index)
		}
		return
	}
	h.digests[e.index-1], h.sums[e.index-1] = digest, total
	h.w.report.Entries++
	h.w.report.Commands += len(m.Commands)
	for i, c := range e.calls {
		c.logged = e.index
		h.denied(c)
		if !result.Outcomes[i].Parked {
			h.calls[c.id] = outcome{e.index, sums.outcomes[i]}
		}
	}
	for _, r := range m.Renewals {
		h.renewed[r.Session] = e.index
	}
	for i, s := range result.Settled {
		h.calls[s.WaitID] = outcome{e.index, sums.settled[i]}
	}
	events := result.Events()
	for _, event := range events {
		h.events = append(h.events, eventSum(event))
	}
	answered(m, result, sums, events)
	if h.w.config.Trace != nil {
		h.w.tell("%+v", *m)
	}
	if broken := h.model.Apply(m); broken != nil {
		h.w.fail(broken.Guarantee, "%s", broken.What)
	}
	if got := n.machine.Clock().Uptime; got != h.model.Uptime {
		h.w.fail("S6", "uptime is %d at entry %d; the log says %d", got, e.index, h.model.Uptime)
	}
	if got := n.machine.Clock().Wall; got != h.model.Wall {
		h.w.fail("S6", "wall time is %d at entry %d; the log says %d", got, e.index, h.model.Wall)
	}
	h.times.entry(e, m, h.model.Uptime)
	h.times.facts(e, events)
	h.w.mix(binary.BigEndian.Uint64(append(digest, make([]byte, 8)...)))
}

// answerSums are those of an entry's answers.
type answerSums struct{ outcomes, settled []uint64 }

// total is of all that an entry is answered. The sums of the answers are there until the next entry.
func (h *history) total(result *fsm.Result) (sums *answerSums, total uint64) {
	sums = &h.answers
	sums.outcomes, sums.settled = sums.outcomes[:0], sums.settled[:0]
	for _, o := range result.Outcomes {
		s := h.sum(o.Reply, o.Refusal)
		sums.outcomes, total = append(sums.outcomes, s), mixed(total, s)
	}
	for _, o := range result.Renewals {
		total = mixed(total, h.sum(o.Reply, o.Refusal))
	}
	for _, o := range result.Settled {
		s := h.sum(o.Reply, o.Refusal)
		sums.settled, total = append(sums.settled, s), mixed(mixed(total, o.WaitID), s)
	}
	return sums, total
}

// reopened checks the state that a node goes on from.
func (h *history) reopened(n *node) {
	index, digest := n.machine.Digest()
	if index > 0 && index <= uint64(len(h.log)) && !bytes.Equal(digest, h.digests[index-1]) {
		h.w.fail("S7", "node %d goes on from a state at entry %d with another digest than was there", n.id, index)
	}
}

// invoke begins an operation.
func (h *history) invoke(c *client, kind string) *op {
	h.w.report.Ops++
	return &op{client: c, kind: kind, floor: h.floor, began: h.w.now}
}

func (h *history) unanswered(*op) { h.w.report.Unanswered++ }

// respond checks an answer: it is what the log came to, behind all that was known when the operation began.
func (h *history) respond(o *op, r *request, res *response) {
	w := h.w
	w.report.Answered++
	switch {
	case r.stale:
	case r.read != nil:
		w.report.Reads++
		if res.applied < o.floor {
			w.fail("S4", "%s of %s is answered from entry %d, and entry %d was acknowledged before it began", o.kind, o.client.name, res.applied, o.floor)
		}
		h.floor = max(h.floor, res.applied)
	case r.renewal != nil:
		session := r.renewal().Session
		if h.renewed[session] <= o.floor {
			w.fail("S3", "a renewal of session %d is acknowledged, and is not in the log", session)
		}
	default:
		for i, id := range res.calls {
			got, known := h.calls[id]
			switch {
			case !known:
				w.fail("S3", "%s of %s is answered, and is not in the log", o.kind, o.client.name)
			case got.index <= o.floor:
				w.fail("S4", "%s of %s is answered by entry %d, and entry %d was acknowledged before it began", o.kind, o.client.name, got.index, o.floor)
			case got.sum != h.sum(res.outcomes[i].Reply, res.outcomes[i].Refusal):
				w.fail("S4", "%s of %s is answered otherwise than the log came to", o.kind, o.client.name)
			}
			delete(h.calls, id)
			h.floor = max(h.floor, got.index)
			if res.outcomes[i].Refusal != nil {
				w.report.Refused++
			}
		}
	}
}
