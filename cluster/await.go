package cluster

import (
	"sync"

	"github.com/lockstep-dev/lockstep/fsm"
)

// board is where calls wait for settlements. Posting never blocks: what does not fit into a subscriber's channel has a
// queue without bound, and a goroutine from then on, which its call drains or leaves.
type board struct {
	mu     sync.Mutex // guards subscribers
	byWait map[uint64]*subscriber
}

type subscriber struct {
	out  chan fsm.Settlement
	wake chan struct{}
	end  chan struct{}

	mu      sync.Mutex // guards what follows
	queue   []fsm.Settlement
	pumping bool
}

// atOnce is how many settlements wait for a call without a goroutine: most calls have one.
const atOnce = 4

// Await subscribes to the settlements of a wait. Subscribe before the command is proposed; call cancel when done.
func (g *group) await(waitID uint64) (<-chan fsm.Settlement, func()) {
	s := &subscriber{out: make(chan fsm.Settlement, atOnce), wake: make(chan struct{}, 1), end: make(chan struct{})}
	g.board.mu.Lock()
	g.board.byWait[waitID] = s
	g.board.mu.Unlock()
	var once sync.Once
	return s.out, func() {
		once.Do(func() {
			g.board.mu.Lock()
			if g.board.byWait[waitID] == s {
				delete(g.board.byWait, waitID)
			}
			g.board.mu.Unlock()
			close(s.end)
		})
	}
}

func (s *subscriber) post(settlement fsm.Settlement) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if !s.pumping {
		select {
		case s.out <- settlement:
			return
		default:
			s.pumping = true
			go s.pump()
		}
	}
	s.queue = append(s.queue, settlement)
	select {
	case s.wake <- struct{}{}:
	default:
	}
}

func (s *subscriber) pump() {
	for {
		s.mu.Lock()
		var next fsm.Settlement
		any := len(s.queue) > 0
		if any {
			next = s.queue[0]
			s.queue = s.queue[1:]
		}
		s.mu.Unlock()
		if !any {
			select {
			case <-s.wake:
				continue
			case <-s.end:
				return
			}
		}
		select {
		case s.out <- next:
		case <-s.end:
			return
		}
	}
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
