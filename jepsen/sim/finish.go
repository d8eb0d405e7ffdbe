package sim

import (
	"bytes"
	"strings"
)

// settled: all that was begun has come to its end, and every node has the whole log.
func (w *world) settled() bool {
	if len(w.history.model.Open()) > 0 {
		return false
	}
	for _, n := range w.nodes {
		if !n.up || n.applied < uint64(len(w.history.log)) {
			return false
		}
	}
	return true
}

func (w *world) stuck() {
	w.fail("liveness", "%s after everything was healed these have not ended: %s", healing, strings.Join(w.history.model.Open(), " "))
}

// finish compares what is there at the end.
func (w *world) finish() {
	w.report.Advances, w.report.Late, w.report.Expiries = w.history.model.Completed, w.history.model.Late, w.history.model.Expired
	_, first := w.nodes[0].machine.Digest()
	for _, n := range w.nodes[1:] {
		if _, other := n.machine.Digest(); !bytes.Equal(first, other) {
			w.fail("S7", "nodes 0 and %d end with different digests", n.id)
		}
	}
}
