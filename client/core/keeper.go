package core

import (
	"maps"
	"slices"
	"time"

	"github.com/lockstep-dev/lockstep/jepsen/plant"
)

// Keeper keeps one session alive: it says when to renew, with which tokens, and when to stop trusting the session.
//
// The holder's deadline is counted from the time that a renewal was sent, which is before the cluster counts the TTL from,
// and ends a margin earlier: so a holder that looks stops before its leases can lapse. That saves work and protects
// nothing. The token protects.
type Keeper struct {
	ttl      time.Duration
	deadline time.Duration
	next     time.Duration
	failures int
	ended    bool
	held     map[int64]bool
	// Ids of requests that have no answer yet, in order; last is the newest ever given.
	unanswered []int64
	last       int64
}

// Margin is how much earlier than the cluster the holder of a session gives up: 200 ms for what is on its way, and 0.1 %
// of the TTL for clocks that run at different rates. A TTL too short for that keeps half.
func Margin(ttl time.Duration) time.Duration { return min(200*time.Millisecond+ttl/1000, ttl/2) }

// NewKeeper keeps a session that was asked for at sent.
func NewKeeper(ttl, sent time.Duration) *Keeper {
	k := &Keeper{held: map[int64]bool{}}
	k.extend(ttl, sent)
	return k
}

func (k *Keeper) extend(ttl, sent time.Duration) {
	k.ttl, k.failures = ttl, 0
	k.deadline = max(k.deadline, sent+ttl-Margin(ttl))
	k.next = sent + ttl/3
}

// Act is what a keeper wants done.
type Act int

const (
	// Wait until the time that came with it, or until something changes.
	Wait Act = iota
	// Renew now.
	Renew
	// Expire: the session can no longer be trusted, now or ever.
	Expire
)

// Step says what to do now, and for Wait until when.
func (k *Keeper) Step(now time.Duration) (Act, time.Duration) {
	switch {
	case k.ended || now >= k.deadline:
		k.ended = true
		return Expire, now
	case now >= k.next:
		return Renew, now
	}
	return Wait, min(k.next, k.deadline)
}

// Deadline is the time at which the session is no longer trusted, unless a renewal succeeds before.
func (k *Keeper) Deadline() time.Duration { return k.deadline }

// Patience is how long to wait for the answer to one renewal before another server is asked.
func (k *Keeper) Patience() time.Duration { return k.ttl / 6 }

// Renewed says that the renewal sent at sent was answered. A deadline that passed in between stays passed.
func (k *Keeper) Renewed(ttl, sent, now time.Duration) {
	if plant.Is(plant.TrustFromAnswer) {
		sent = now + Margin(ttl)
	}
	if now < k.deadline {
		k.extend(ttl, sent)
	}
}

// Failed says that a renewal went unanswered. It is tried again after at most a sixth of the TTL, and half of what is left of
// the session, so that an outage that ends in time is noticed in time. jitter is from [0, 1).
func (k *Keeper) Failed(now time.Duration, jitter float64) {
	first := k.ttl / 96
	limit := min(k.ttl/6, max((k.deadline-now)/2, first))
	k.next = now + Backoff(k.failures, first, limit, jitter)
	k.failures++
}

// Hold has renewals list a token, until Drop.
func (k *Keeper) Hold(token int64) { k.held[token] = true }

// Drop ends Hold: the lease is over and that has been answered, or it is lost.
func (k *Keeper) Drop(token int64) { delete(k.held, token) }

// Tokens lists what is held, in order.
func (k *Keeper) Tokens() []int64 { return slices.Sorted(maps.Keys(k.held)) }

// Request gives a new request its id, greater than any before, and the lowest id that has no answer yet.
func (k *Keeper) Request() (id, lowest int64) {
	k.last++
	k.unanswered = append(k.unanswered, k.last)
	return k.last, k.unanswered[0]
}

// Answered says that a request was answered, or is given up for good: it will not be asked again.
func (k *Keeper) Answered(id int64) {
	if at, found := slices.BinarySearch(k.unanswered, id); found {
		k.unanswered = slices.Delete(k.unanswered, at, at+1)
	}
}
