package cluster

import (
	"runtime"
	"testing"

	"github.com/lockstep-dev/lockstep/fsm"
)

// Settlements come in the order in which they were posted, however many wait, and posting waits for nobody; the few that
// most calls have cost no goroutine.
func TestSettlementsComeInOrder(t *testing.T) {
	g := &group{board: board{byWait: map[uint64]*subscriber{}}}
	for _, n := range [...]int{1, atOnce, atOnce + 1, 1000} {
		before := runtime.NumGoroutine()
		settled, cancel := g.await(7)
		for i := range n {
			g.board.post([]fsm.Settlement{{WaitID: 7, Reply: nil, Refusal: fsm.Refuse(1, "%d", i).Detail}, {WaitID: 8}})
		}
		if after := runtime.NumGoroutine(); n <= atOnce && after > before {
			t.Errorf("%d settlements: %d goroutines more", n, after-before)
		}
		for i := range n {
			if got, want := (<-settled).Refusal.Reason, fsm.Refuse(1, "%d", i).Detail.Reason; got != want {
				t.Fatalf("settlement %d of %d: %s", i, n, got)
			}
		}
		cancel()
		cancel()
		g.board.post([]fsm.Settlement{{WaitID: 7}})
	}
}
