package core

import (
	"slices"
	"time"
)

// Failover knows the servers of a cluster, and which of them to ask next: the leader when it is known, else each in turn.
type Failover struct {
	servers []string
	at      int
	// leader is where a refusal sent us; it may be none of the servers we were told of.
	leader string
	// failed is the server that failed last. Others may say that it leads, and be right, and it is still out of our reach.
	failed string
}

// NewFailover asks servers in the order given, which must not be empty.
func NewFailover(servers []string) *Failover {
	return &Failover{servers: slices.Clone(servers)}
}

// Server is the one to ask now.
func (f *Failover) Server() string {
	if f.leader != "" {
		return f.leader
	}
	return f.servers[f.at]
}

// Servers counts those that were given.
func (f *Failover) Servers() int { return len(f.servers) }

// knows says whether we were told of a server.
func (f *Failover) knows(server string) bool { return slices.Contains(f.servers, server) }

// Failed says that server could not do a call, and who leads if it said so. Many calls may fail at one server at once:
// only the first of them moves on.
func (f *Failover) Failed(server, leader string) {
	if server != f.Server() {
		return
	}
	if f.leader == "" {
		f.at = (f.at + 1) % len(f.servers)
	}
	f.leader, f.failed = "", server
	if leader != "" {
		f.Led(leader)
	}
}

// Led says who leads: it is asked next, unless it is what failed last. Then the others must pass calls on to it.
func (f *Failover) Led(leader string) {
	if leader == f.failed {
		return
	}
	if at := slices.Index(f.servers, leader); at >= 0 {
		f.at, f.leader = at, ""
		return
	}
	f.leader = leader
}

// Failure is how a call went wrong.
type Failure int

const (
	// Final: an answer that asking again does not change.
	Final Failure = iota
	// Misdirected: the server said who leads, and did nothing.
	Misdirected
	// Unreached: nothing was done: no connection, no leader, a server that starts or stops.
	Unreached
	// Overloaded: nothing was done, to shed load.
	Overloaded
	// Unknown: the answer is lost, and the call may have been done.
	Unknown
)

// Delays between the tries of one call. A change of leader takes about a second.
const (
	firstDelay = 20 * time.Millisecond
	maxDelay   = time.Second
)

// Call is the state of one call that is tried until it is answered.
type Call struct {
	// Safe calls may be done twice without harm: only they are tried again when their outcome is unknown.
	Safe bool
	// Servers is how many there are: so many are asked at once before there is a pause.
	Servers int
	// MaxDelay caps the pause between tries; zero means a second.
	MaxDelay time.Duration

	tries, pauses int
}

// Failed says whether to try again, and after how long. jitter is drawn from [0, 1).
func (c *Call) Failed(f Failure, jitter float64) (after time.Duration, again bool) {
	if f == Final || f == Unknown && !c.Safe {
		return 0, false
	}
	c.tries++
	if f != Overloaded && c.tries%max(c.Servers, 1) != 0 {
		return 0, true
	}
	limit := c.MaxDelay
	if limit == 0 {
		limit = maxDelay
	}
	after = Backoff(c.pauses, firstDelay, limit, jitter)
	c.pauses++
	return after, true
}

// Backoff doubles first for each try before, up to limit, and takes off up to half by jitter from [0, 1), so that a herd
// spreads.
func Backoff(tries int, first, limit time.Duration, jitter float64) time.Duration {
	delay := limit
	if tries < 32 {
		delay = min(first<<tries, limit)
	}
	return delay - time.Duration(float64(delay/2)*jitter)
}
