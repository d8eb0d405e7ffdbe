package cluster

import (
	"context"
	"flag"
	"fmt"
	"math/rand/v2"
	"testing"
	"time"

	v1 "github.com/lockstep-dev/lockstep/proto/gen/lockstep/v1"
)

var faultsDay = flag.Duration("faults.day", 20*time.Minute, "how long leases are held on real raft in virtual time")

// long has a run that may take long go to another holder when that time is over: not before, and, but for outages and half a second
// for each change of leader, not later. The session lives on all the while.
func (s *storm) long(run time.Duration) {
	name := fmt.Sprint("l", int64(run.Seconds()))
	s.register(fmt.Sprintf("workflow: %s\nsteps: {a: {queue: %s, retry: {attempts: 1000000}, timeouts: {run: %s}}}\n", name, name, run))
	h := s.holder(time.Hour)
	s.tasks.Go(func() { s.renewed(h.session, time.Hour) })
	for n := 0; s.ctx.Err() == nil; n++ {
		id := fmt.Sprint(name, "-", n)
		s.start(name, id)
		sent := time.Now()
		first := h.poll(name)
		acked, from := time.Now(), s.term()
		var second *v1.LeasedRun
		for second == nil && s.ctx.Err() == nil {
			time.Sleep(lookAgain(run, time.Since(sent)))
			second = h.look(name)
		}
		if s.ctx.Err() != nil {
			return
		}
		const backoff = time.Second // the second attempt waits for so long
		lasted := time.Since(acked)
		bound := run + backoff + s.outage(acked, time.Now()) + time.Duration(s.term()-from+1)*500*time.Millisecond
		if time.Since(sent) < run || lasted > bound {
			s.t.Errorf("a run that may take %s went to another after %s; at most it is %s", run, lasted, bound)
		}
		s.refused("the completion of a holder that is over", v1.Code_CODE_FENCED, completion(id, first.Token))
		s.done("the completion of the newest holder", completion(id, second.Token))
		s.mu.Lock()
		s.fenced++
		s.mu.Unlock()
	}
}

// A day of leases on real raft: changes of leader are some quarters of an hour apart, and what is held for a minute to hours ends in its
// time. The cluster's uptime is the time that has passed, but for outages and half a second for each change of leader.
func TestADayOfLeases(t *testing.T) {
	w := &weather{}
	o := w.options(3, false)
	o.tweak = func(_ int, c *Config) { c.CommitTimeout = 300 * time.Millisecond } // of an idle cluster, in which it is most of what happens
	inBubble(t, o, func(t *testing.T, c *bubble) {
		c.leader()
		ctx, stop := context.WithCancel(t.Context())
		s := newStorm(ctx, c, time.Minute)
		began, first, earlier := time.Now(), s.term(), s.uptime()
		for _, ttl := range []time.Duration{time.Minute, 10 * time.Minute, time.Hour} {
			s.tasks.Go(func() { s.live(ttl) })
			s.tasks.Go(func() { s.silent(ttl) })
		}
		for _, run := range []time.Duration{5 * time.Minute, time.Hour, 6 * time.Hour} {
			s.tasks.Go(func() { s.long(run) })
		}
		chance := rand.New(rand.NewPCG(*faultsSeed, 1))
		for time.Since(began) < *faultsDay {
			time.Sleep(time.Duration(chance.Int64N(int64(30 * time.Minute))))
			s.strike(w, chance)
		}
		passed, up := time.Since(began), s.uptime()-earlier
		stop()
		s.tasks.Wait()
		c.agree()
		least := passed - s.outage(began, began.Add(passed)) - time.Duration(s.term()-first+1)*500*time.Millisecond
		if up > passed || up < least {
			t.Errorf("%s passed, and the cluster counts %s of it, which is not within %s and %s", passed, up, least, passed)
		}
		t.Logf("%d terms in %s of virtual time, of which the cluster counts %s: %d sessions ended in theirs, %d holders that were over were refused",
			s.term()-first, passed.Round(time.Second), up.Round(time.Second), s.ended, s.fenced)
		if s.ended == 0 || s.fenced == 0 {
			t.Error("too little happened to show anything")
		}
	})
}

// uptime is the cluster's, as a leader has it.
func (s *storm) uptime() time.Duration {
	_, n := s.leader()
	return time.Duration(n.groups[theGroup].machine.current.Clock().Uptime)
}
