package sim

import (
	"bytes"
	"encoding/binary"
	"strings"

	v1 "github.com/lockstep-dev/lockstep/proto/gen/lockstep/v1"
)

// settled: all that was begun has come to its end, and every node has the whole log.
func (w *world) settled() bool {
	if p := w.crew.planner; len(w.history.model.Open()) > 0 || p != nil && !p.gone {
		return false
	}
	if w.history.model.Outlived(0) != "" {
		return false
	}
	for _, n := range w.nodes {
		if !n.up || n.applied < uint64(len(w.history.log)) {
			return false
		}
	}
	for _, k := range w.crew.watchers {
		if k.after < w.history.model.Position {
			return false
		}
	}
	return true
}

// stuck says what has not ended, and what the cluster says of the first of it.
func (w *world) stuck() {
	open := w.history.model.Open()
	if p := w.crew.planner; p != nil && !p.gone {
		w.fail("schedule", "%s after the last step was completed, and everything was healed, a schedule has times that have come, and are not decided", healing)
		return
	}
	if id := w.history.model.Outlived(0); id != "" {
		w.fail("retention", "%s after the last step was completed, and everything was healed, %s is over its time, and is kept", healing, id)
		return
	}
	if len(open) == 0 {
		w.fail("liveness", "%s after the last step was completed, and everything was healed, some node lacks a part of the log", healing)
		return
	}
	why, err := w.nodes[0].machine.Explain(&v1.ExplainRequest{InstanceId: open[0]})
	w.fail("liveness", "%s after the last step was completed, and everything was healed, these have not ended: %s; of the first, %v %v", healing, strings.Join(open, " "), why, err)
}

// finish compares what is there at the end: on all nodes the same, to the last row, and outside what the log says.
func (w *world) finish() {
	m := w.history.model
	w.report.Advances, w.report.Late, w.report.Expiries = m.Completed, m.Late, m.Expired
	_, first := w.nodes[0].machine.Digest()
	rows := w.nodes[0].rows()
	for _, n := range w.nodes[1:] {
		if _, other := n.machine.Digest(); !bytes.Equal(first, other) {
			w.fail("S7", "nodes 0 and %d end with different digests", n.id)
		}
		if key := differ(rows, n.rows()); key != "" {
			w.fail("S7", "nodes 0 and %d end with different rows: %q", n.id, key)
		}
	}
	for key, token := range w.register.values {
		if _, name, _ := strings.Cut(key, "default/"); name != "" {
			id, step, _ := strings.Cut(strings.TrimSuffix(name, "/0"), "/")
			if accepted := m.Accepted(id, step); accepted > 0 && token > accepted {
				w.fail("S2", "%s was written under token %d, and is completed under token %d", key, token, accepted)
			}
		}
	}
}

// stored is a row as the engine has it.
type stored struct{ key, value []byte }

// rows are all that a node has, by key, but for the blocks of events, whose bounds are its own. So are those of the rows of a
// history: each of its positions counts as a row. A memory engine changes no row that it has shown, so none is copied.
func (n *node) rows() (rows []stored) {
	n.must(n.machine.Flush())
	n.must(n.disk.store.Scan(nil, nil, func(key, value []byte) bool {
		switch key[0] {
		case 'e':
		case 'h':
			position := binary.BigEndian.Uint64(key[len(key)-8:])
			for {
				rows = append(rows, stored{key: binary.BigEndian.AppendUint64(key[:len(key)-8:len(key)-8], position)})
				step, size := binary.Uvarint(value)
				if size <= 0 {
					break
				}
				position, value = position+step, value[size:]
			}
		default:
			rows = append(rows, stored{key, value})
		}
		return true
	}))
	return rows
}

// differ names the first row that one has otherwise than the other.
func differ(a, b []stored) string {
	for len(a) > 0 && len(b) > 0 && bytes.Equal(a[0].key, b[0].key) && bytes.Equal(a[0].value, b[0].value) {
		a, b = a[1:], b[1:]
	}
	switch {
	case len(a) == 0 && len(b) == 0:
		return ""
	case len(a) == 0 || len(b) > 0 && bytes.Compare(b[0].key, a[0].key) < 0:
		return string(b[0].key)
	}
	return string(a[0].key)
}
