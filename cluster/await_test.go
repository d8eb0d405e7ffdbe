package cluster

import (
	"runtime"
	"sync"
	"testing"

	"github.com/lockstep-dev/lockstep/fsm"
)

// Settlements come in the order in which they were posted, however many wait, and posting waits for nobody and costs no
// goroutine: those that nobody has taken come together.
func TestSettlementsComeInOrder(t *testing.T) {
	g := &group{board: board{byWait: map[uint64]*subscriber{}}}
	post := func(first, n int) {
		for i := range n {
			g.board.post([]fsm.Settlement{{WaitID: 7, Refusal: fsm.Refuse(1, "%d", first+i).Detail}, {WaitID: 8}})
		}
	}
	for _, n := range [...]int{1, 2, 1000} {
		before := runtime.NumGoroutine()
		settled, cancel := g.await(7)
		post(0, n)
		if after := runtime.NumGoroutine(); after > before {
			t.Errorf("%d settlements: %d goroutines more", n, after-before)
		}
		batch := <-settled
		if len(batch) != n {
			t.Errorf("%d settlements of %d came together", len(batch), n)
		}
		inOrder(t, 0, batch)
		post(n, 1)
		inOrder(t, n, <-settled)
		cancel()
		cancel()
		post(0, 1)
	}
}

// None is lost or overtaken while they are taken as they come.
func TestSettlementsAreTakenWhileTheyCome(t *testing.T) {
	const n = 10_000
	g := &group{board: board{byWait: map[uint64]*subscriber{}}}
	settled, cancel := g.await(7)
	defer cancel()
	var posting sync.WaitGroup
	posting.Go(func() {
		for i := range n {
			g.board.post([]fsm.Settlement{{WaitID: 7, Refusal: fsm.Refuse(1, "%d", i).Detail}})
		}
	})
	for next := 0; next < n; {
		batch := <-settled
		inOrder(t, next, batch)
		next += len(batch)
	}
	posting.Wait()
}

func inOrder(t *testing.T, first int, batch []fsm.Settlement) {
	t.Helper()
	for i, s := range batch {
		if want := fsm.Refuse(1, "%d", first+i).Detail.Reason; s.Refusal.Reason != want {
			t.Fatalf("%s came in the place of %s", s.Refusal.Reason, want)
		}
	}
}
