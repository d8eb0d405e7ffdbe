package logstore

import (
	"errors"
	"os"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"
)

// stalling opens a store whose commits wait for a channel, in a bubble, and whose node leads when told so.
type stalling struct {
	*Store
	resume chan struct{}

	mu    sync.Mutex // guards what follows
	leads bool
	told  []error
}

func openStalling(t *testing.T) *stalling {
	t.Helper()
	out := &stalling{resume: make(chan struct{})}
	s, err := Open(Config{
		Path:  at(t),
		Leads: func() bool { out.mu.Lock(); defer out.mu.Unlock(); return out.leads },
		Fatal: func(err error) { out.mu.Lock(); defer out.mu.Unlock(); out.told = append(out.told, err) },
	})
	if err != nil {
		t.Fatal(err)
	}
	s.sync = func(f *os.File) error { <-out.resume; return datasync(f) }
	out.Store = s
	return out
}

func (s *stalling) lead(leads bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.leads = leads
}

func (s *stalling) stopped() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	return errors.Join(s.told...)
}

// A write that stalls ends a leader, and a node that comes to lead in the middle of it; a follower waits. What was
// written late is not answered for.
func TestAStallEndsALeader(t *testing.T) {
	for what, leads := range map[string]func(*stalling){
		"leads from the start": func(s *stalling) { s.lead(true); time.Sleep(4100 * time.Millisecond) },
		"leads later": func(s *stalling) {
			time.Sleep(time.Minute)
			if err := s.stopped(); err != nil {
				t.Errorf("a follower was stopped: %v", err)
			}
			s.lead(true)
			time.Sleep(200 * time.Millisecond)
		},
		"leads for a moment": func(s *stalling) {
			time.Sleep(10 * time.Second)
			s.lead(true)
			time.Sleep(150 * time.Millisecond)
			s.lead(false)
			time.Sleep(time.Second)
		},
	} {
		synctest.Test(t, func(t *testing.T) {
			s := openStalling(t)
			answer := make(chan error)
			go func() { answer <- s.StoreLog(entry(1, 1, 10)) }()
			leads(s)
			if err := s.stopped(); err == nil || !strings.Contains(err.Error(), "write entries to") || !strings.Contains(err.Error(), "stalls") {
				t.Errorf("%s: not stopped by a clear line: %v", what, err)
			}
			if err := s.SetUint64([]byte("CurrentTerm"), 1); err == nil {
				t.Errorf("%s: the store goes on", what)
			}
			if err := s.Close(); err == nil {
				t.Errorf("%s: close waits for what is stuck, or calls it well", what)
			}
			close(s.resume)
			<-answer
			s.mu.Lock()
			defer s.mu.Unlock()
			if len(s.told) != 1 {
				t.Errorf("%s: Fatal was told %v", what, s.told)
			}
		})
	}
}

// A slow write is no stall; nor is one on a follower, however long; and two writes at a time are told apart.
func TestNoStall(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := openStalling(t)
		answer := make(chan error, 2)
		write := func() { answer <- s.StoreLog(entry(1, 1, 10)) }
		s.lead(true)
		for range 3 {
			go write()
			time.Sleep(3900 * time.Millisecond)
			s.resume <- struct{}{}
			if err := <-answer; err != nil {
				t.Error(err)
			}
			time.Sleep(time.Minute)
		}
		s.lead(false)
		go write()
		time.Sleep(time.Hour)
		s.resume <- struct{}{}
		err := <-answer
		s.sync = datasync
		if err := errors.Join(err, s.stopped(), s.Close()); err != nil {
			t.Error(err)
		}
	})
}

// A write that ends does not hide another that stalls: raft deletes from another goroutine than it appends from.
func TestTwoOperationsAtATime(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		told := make(chan string, 1)
		w := newWatch(4*time.Second, func() bool { return true }, func(what string, _ time.Duration) {
			select {
			case told <- what:
			default:
			}
		})
		defer w.close()
		defer w.begin("delete")()
		time.Sleep(time.Second)
		w.begin("append")()
		if what := <-told; what != "delete" {
			t.Errorf("told of %q", what)
		}
	})
}

// A process that was stopped in the middle of a write does not take its own absence for a stall of the disk; a stall
// that it sees itself counts from the first look after that.
func TestTheTimeOfAStoppedProcessIsNotADisks(t *testing.T) {
	began := time.Now()
	w := &watch{after: 4 * time.Second, running: map[*operation]struct{}{{"write entries to", began}: {}}, looked: began}
	now := began
	pass := func(span time.Duration) (operation, bool) { now = now.Add(span); return w.overdue(now) }
	pass(look)
	if o, overdue := pass(time.Minute); overdue {
		t.Fatalf("a process stopped for a minute says that its disk stalls: %v", o)
	}
	seen := time.Duration(0)
	for {
		_, overdue := pass(look)
		if seen += look; overdue {
			break
		}
	}
	if seen < 3500*time.Millisecond || seen > 4*time.Second {
		t.Errorf("the stall was told after %s of looking", seen)
	}
}
