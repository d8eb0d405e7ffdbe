package client_test

import (
	"context"
	"errors"
	"net/http"
	"net/http/httptest"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/lockstep-dev/lockstep/client"
	v1 "github.com/lockstep-dev/lockstep/proto/gen/lockstep/v1"
)

// inProcess carries calls to a handler without a network, so that a test's clock is the only one.
type inProcess struct{ handler http.Handler }

func (p inProcess) RoundTrip(r *http.Request) (*http.Response, error) {
	answered := make(chan *http.Response, 1)
	go func() {
		w := httptest.NewRecorder()
		p.handler.ServeHTTP(w, r)
		answered <- w.Result()
	}()
	select {
	case res := <-answered:
		return res, nil
	case <-r.Context().Done():
		return nil, r.Context().Err()
	}
}

// timed runs a test in which time passes when everybody waits.
func timed(t *testing.T, test func(t *testing.T, f *fake, s *client.Session, open time.Time)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		f := newFake()
		c, err := client.New(client.Config{Servers: []string{"lockstep"}, HTTPClient: &http.Client{Transport: inProcess{f.mux}}})
		if err != nil {
			t.Fatal(err)
		}
		open := time.Now()
		s, err := c.OpenSession(t.Context(), client.SessionConfig{TTL: 9 * time.Second})
		if err != nil {
			t.Fatal(err)
		}
		test(t, f, s, open)
		if err := s.Close(t.Context()); err != nil {
			t.Error(err)
		}
	})
}

const margin = 209 * time.Millisecond // of a TTL of 9 s

// A session is renewed every third of its TTL for as long as it is open, and not after.
func TestSessionRenews(t *testing.T) {
	timed(t, func(t *testing.T, f *fake, s *client.Session, open time.Time) {
		time.Sleep(time.Minute + time.Second)
		if n := f.count("KeepAlive"); n != 20 {
			t.Errorf("%d renewals in a minute, want 20", n)
		}
		if want := open.Add(69*time.Second - margin); !s.Deadline().Equal(want) {
			t.Errorf("deadline is %s after opening, want %s", s.Deadline().Sub(open), want.Sub(open))
		}
		if s.Err() != nil {
			t.Errorf("session is over: %v", s.Err())
		}
		if err := s.Close(t.Context()); err != nil {
			t.Error(err)
		}
		time.Sleep(time.Minute)
		if n := f.count("KeepAlive"); n != 20 || !errors.Is(s.Err(), client.ErrSessionClosed) {
			t.Errorf("%d renewals, %v", n, s.Err())
		}
	})
}

// A session that cannot be renewed is over at its deadline, whether servers refuse, or do not answer; and with it whatever
// is done under it. Tries are at most a sixth of the TTL apart.
func TestSessionExpires(t *testing.T) {
	for name, answer := range map[string]func() error{
		"refused": func() error { return refuse(v1.Code_CODE_NO_LEADER, "election") },
		"silent":  func() error { time.Sleep(time.Minute); return refuse(v1.Code_CODE_NO_LEADER, "too late") },
	} {
		t.Run(name, func(t *testing.T) {
			timed(t, func(t *testing.T, f *fake, s *client.Session, open time.Time) {
				lock, err := s.Lock(t.Context(), "dock", client.LockOptions{})
				if err != nil {
					t.Fatal(err)
				}
				var mu sync.Mutex
				var tries []time.Time
				f.setHook(func(method string, _ any, done bool) error {
					if method != "KeepAlive" || done {
						return nil
					}
					mu.Lock()
					tries = append(tries, time.Now())
					mu.Unlock()
					return answer()
				})
				<-lock.Done()
				if after := time.Since(open); after != 9*time.Second-margin {
					t.Errorf("expired after %s", after)
				}
				if !errors.Is(s.Err(), client.ErrSessionExpired) || !errors.Is(lock.Err(), client.ErrSessionExpired) {
					t.Errorf("session: %v, lock: %v", s.Err(), lock.Err())
				}
				mu.Lock()
				defer mu.Unlock()
				for i := 1; i < len(tries); i++ {
					// A try takes a sixth, and there is a sixth between two.
					if gap := tries[i].Sub(tries[i-1]); gap > 3*time.Second+time.Millisecond {
						t.Errorf("%s between tries", gap)
					}
				}
				if len(tries) < 3 {
					t.Errorf("%d tries", len(tries))
				}
				f.setHook(nil)
				time.Sleep(2 * time.Minute) // until silent servers have woken, and found nobody
			})
		})
	}
}

// A change of leader in the middle costs nothing.
func TestSessionSurvivesOutage(t *testing.T) {
	timed(t, func(t *testing.T, f *fake, s *client.Session, open time.Time) {
		f.setHook(func(method string, _ any, done bool) error {
			if since := time.Since(open); !done && since > 2*time.Second && since < 8*time.Second {
				return refuse(v1.Code_CODE_NO_LEADER, "election")
			}
			return nil
		})
		time.Sleep(30 * time.Second)
		if s.Err() != nil {
			t.Errorf("session is over: %v", s.Err())
		}
		f.setHook(nil)
	})
}

// Renewals list every token that is held, each until the end of its lease is answered.
func TestSessionListsTokens(t *testing.T) {
	timed(t, func(t *testing.T, f *fake, s *client.Session, _ time.Time) {
		first, err := s.Lock(t.Context(), "a", client.LockOptions{})
		if err != nil {
			t.Fatal(err)
		}
		second, err := s.Lock(t.Context(), "b", client.LockOptions{})
		if err != nil {
			t.Fatal(err)
		}
		time.Sleep(4 * time.Second)
		f.setHook(func(method string, _ any, done bool) error {
			if method == "ReleaseLock" && !done {
				time.Sleep(4 * time.Second)
			}
			return nil
		})
		if err := first.Release(t.Context()); err != nil {
			t.Fatal(err)
		}
		time.Sleep(2 * time.Second)
		f.mu.Lock()
		defer f.mu.Unlock()
		for i, want := range [][]int64{{first.Token, second.Token}, {first.Token, second.Token}, {second.Token}} {
			if r := f.renewals[i]; !slices.Equal(r.Tokens, want) || !r.TokensComplete {
				t.Errorf("renewal %d lists %v, want %v", i, r.Tokens, want)
			}
		}
	})
}

// A lease that the cluster has ended is lost at the next renewal; the session and the rest go on.
func TestSessionLosesLease(t *testing.T) {
	timed(t, func(t *testing.T, f *fake, s *client.Session, open time.Time) {
		kept, err := s.Lock(t.Context(), "kept", client.LockOptions{})
		if err != nil {
			t.Fatal(err)
		}
		lost, err := s.Lock(t.Context(), "lost", client.LockOptions{})
		if err != nil {
			t.Fatal(err)
		}
		f.mu.Lock()
		delete(f.sessions[s.ID()].leases, lost.Token)
		delete(f.locks, "lost")
		f.mu.Unlock()
		<-lost.Done()
		if after := time.Since(open); after != 3*time.Second || !errors.Is(lost.Err(), client.ErrLeaseLost) {
			t.Errorf("lost after %s: %v", after, lost.Err())
		}
		if kept.Err() != nil || s.Err() != nil {
			t.Errorf("kept: %v, session: %v", kept.Err(), s.Err())
		}
		if err := lost.Release(t.Context()); err != nil {
			t.Errorf("releasing what is lost: %v", err)
		}
	})
}

// The cluster's word that a session has ended counts at once.
func TestSessionEndedByCluster(t *testing.T) {
	timed(t, func(t *testing.T, f *fake, s *client.Session, open time.Time) {
		f.expire(s.ID())
		<-s.Done()
		if after := time.Since(open); after != 3*time.Second || !errors.Is(s.Err(), client.ErrSessionExpired) {
			t.Errorf("over after %s: %v", after, s.Err())
		}
		if _, err := s.Lock(t.Context(), "a", client.LockOptions{}); !errors.Is(err, client.ErrSessionExpired) {
			t.Errorf("a lock in a session that is over: %v", err)
		}
	})
}

// A wait for a lock that is longer than one call may take is made of several, and ends with the caller's context.
func TestLockWaits(t *testing.T) {
	timed(t, func(t *testing.T, f *fake, s *client.Session, open time.Time) {
		held, err := s.Lock(t.Context(), "a", client.LockOptions{})
		if err != nil {
			t.Fatal(err)
		}
		_, err = s.Lock(t.Context(), "a", client.LockOptions{})
		refusal, _ := client.AsRefusal(err)
		if !client.IsCode(err, v1.Code_CODE_LOCK_HELD) || refusal.Holder.GetLock() != "a" {
			t.Errorf("without a wait: %v", err)
		}
		start := time.Now()
		if _, err := s.Lock(t.Context(), "a", client.LockOptions{Wait: 90 * time.Second}); !client.IsWaitTimeout(err) || time.Since(start) != 90*time.Second {
			t.Errorf("after %s: %v", time.Since(start), err)
		}
		ctx, cancel := context.WithTimeout(t.Context(), 70*time.Second)
		defer cancel()
		if _, err := s.Lock(ctx, "a", client.LockOptions{Wait: -1}); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("a context that ended: %v", err)
		}
		time.AfterFunc(100*time.Second, func() {
			if err := held.Release(context.Background()); err != nil {
				t.Error(err)
			}
		})
		start = time.Now()
		next, err := s.Lock(t.Context(), "a", client.LockOptions{Wait: -1})
		if err != nil || next.Token <= held.Token || time.Since(start) != 100*time.Second {
			t.Errorf("after %s: %v", time.Since(start), err)
		}
		if <-held.Done(); !errors.Is(held.Err(), client.ErrReleased) {
			t.Errorf("the released lock: %v", held.Err())
		}
	})
}
