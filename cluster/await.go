package cluster

import (
	"sync"

	"github.com/lockstep-dev/lockstep/fsm"
)

// board is where calls wait for settlements. Posting never blocks: settlements that nobody has taken yet are one batch, to
// which the next are added.
type board struct {
	mu     sync.Mutex // guards subscribers
	byWait map[uint64]*subscriber
}

type subscriber struct {
	mu  sync.Mutex // held while a batch is put, so that there is room for it
	out chan []fsm.Settlement
}

// Await subscribes to the settlements of a wait, which come in their order. Subscribe before the command is proposed; call cancel when done.
func (g *group) await(waitID uint64) (<-chan []fsm.Settlement, func()) {
	s := &subscriber{out: make(chan []fsm.Settlement, 1)}
	g.board.mu.Lock()
	g.board.byWait[waitID] = s
	g.board.mu.Unlock()
	return s.out, func() {
		g.board.mu.Lock()
		defer g.board.mu.Unlock()
		if g.board.byWait[waitID] == s {
			delete(g.board.byWait, waitID)
		}
	}
}

func (s *subscriber) post(settlement fsm.Settlement) {
	s.mu.Lock()
	defer s.mu.Unlock()
	var batch []fsm.Settlement
	select {
	case batch = <-s.out:
	default:
	}
	s.out <- append(batch, settlement)
}

func (b *board) post(settled []fsm.Settlement) {
	for _, settlement := range settled {
		b.mu.Lock()
		s := b.byWait[settlement.WaitID]
		b.mu.Unlock()
		if s == nil {
			continue
		}
		s.post(settlement)
	}
}

// signals has channels that are closed at the next change of a name.
type signals struct {
	mu     sync.Mutex // guards byName
	byName map[string]chan struct{}
}

// maxNames bounds the names that are waited for; beyond it everybody wakes and looks.
const maxNames = 10_000

func newSignals() signals { return signals{byName: map[string]chan struct{}{}} }

// next returns the channel that the next change closes. Take it before looking at what may change.
func (s *signals) next(name string) <-chan struct{} {
	s.mu.Lock()
	defer s.mu.Unlock()
	c := s.byName[name]
	if c == nil {
		if len(s.byName) >= maxNames {
			s.wakeAll()
		}
		c = make(chan struct{})
		s.byName[name] = c
	}
	return c
}

func (s *signals) fire(name string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if c := s.byName[name]; c != nil {
		close(c)
		delete(s.byName, name)
	}
}

// fireAll wakes everybody, whatever for: what they wait to hear of may have been skipped.
func (s *signals) fireAll() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.wakeAll()
}

func (s *signals) wakeAll() {
	for _, c := range s.byName {
		close(c)
	}
	clear(s.byName)
}
