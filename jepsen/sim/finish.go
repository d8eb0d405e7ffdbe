package sim

import (
	"bytes"
	"strings"

	v1 "github.com/lockstep-dev/lockstep/proto/gen/lockstep/v1"
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

// stuck says what has not ended, and what the cluster says of the first of it.
func (w *world) stuck() {
	open := w.history.model.Open()
	if len(open) == 0 {
		w.fail("liveness", "%s after everything was healed some node lacks a part of the log", healing)
		return
	}
	why, err := w.nodes[0].machine.Explain(&v1.ExplainRequest{InstanceId: open[0]})
	w.fail("liveness", "%s after everything was healed these have not ended: %s; of the first, %v %v", healing, strings.Join(open, " "), why, err)
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
