// Package propose decides what goes into each log entry, and when: the proposer and the leader's clock as a
// stepped core, without goroutine, clock, IO or raft. The driver in package cluster feeds it time and calls,
// and the simulator steps the same code.
package propose

import (
	"time"

	"github.com/lockstep-dev/lockstep/jepsen/plant"
	logv1 "github.com/lockstep-dev/lockstep/proto/gen/lockstep/log/v1"
)

// Config bounds the core. Zero fields have the defaults.
type Config struct {
	// Commands and bytes of one entry: 256 and 1 MiB. A command bigger than that goes alone; renewals have at most
	// half of the bytes, so that neither lane starves the other.
	MaxCommands, MaxBytes int
	// Entries in flight: 4.
	MaxInFlight int
	// Commands that wait: 8192. Beyond it a command is refused.
	MaxQueued int
	// The longest time between entries while a session lives: 250 ms.
	Gap time.Duration
	// The longest time between entries while there is a deadline: 1 minute.
	IdleGap time.Duration
	// What a sample adds at most: 250 ms, so that a paused leader counts no more.
	MaxSample time.Duration
}

func (c Config) withDefaults() Config {
	set := func(v *int, d int) {
		if *v == 0 {
			*v = d
		}
	}
	set(&c.MaxCommands, 256)
	set(&c.MaxBytes, 1<<20)
	set(&c.MaxInFlight, 4)
	set(&c.MaxQueued, 8192)
	if c.Gap == 0 {
		c.Gap = 250 * time.Millisecond
	}
	if c.IdleGap == 0 {
		c.IdleGap = time.Minute
	}
	if c.MaxSample == 0 {
		c.MaxSample = 250 * time.Millisecond
	}
	return c
}

// Call is whoever waits for an answer; the core hands it back untouched.
type Call any

// Clock is what the core must know of the state machine's time.
type Clock struct {
	Uptime   int64 // of the newest applied entry, nanoseconds
	Sessions int
	Deadline int64 // the next one in uptime; zero is none
	Level    uint32
}

// Batch is one entry with the calls that its results answer, in order.
type Batch struct {
	Entry    *logv1.Entry
	Commands []Call
	// Renewals[i] are the calls that the entry's renewal i answers: the newest of a session stands for all.
	Renewals [][]Call
	Barriers []Call

	reign int
}

// Core packs calls into entries. It is not safe for concurrent use. Times are monotonic, from any origin.
type Core struct {
	config Config

	leading bool
	term    uint64
	reign   int  // counts terms led, so that what lands late does not count for the next
	first   bool // nothing was proposed in this term yet
	held    bool

	elapsed  time.Duration // the leader's own time in this term
	sampled  time.Duration // when elapsed was last added to
	proposed time.Duration // when the last entry went out

	commands queue
	renewals lane
	barriers []Call
	inFlight int
}

// New makes a core that does not lead.
func New(config Config) *Core { return &Core{config: config.withDefaults()} }

// Lead begins a term. It proposes an entry by itself, so that the clock is set and reads of the term have an entry to
// ride on. A term that is begun again keeps its time: word of an earlier one may come when this is led already, and to
// begin at zero would be to stand still until it is made up for.
func (c *Core) Lead(term uint64, now time.Duration) {
	if term != c.term || plant.Is(plant.TermBegunTwice) {
		c.elapsed, c.sampled = 0, now
	}
	c.reign++
	c.leading, c.term, c.first, c.held = true, term, true, false
	c.proposed, c.inFlight = now, 0
}

// Lose ends the term. Calls that were not proposed come back: nothing happened to them.
func (c *Core) Lose() (unproposed []Call) {
	c.leading, c.held = false, false
	unproposed = append(c.commands.clear(), c.renewals.clear()...)
	unproposed = append(unproposed, c.barriers...)
	c.barriers = nil
	return unproposed
}

// Leading says whether calls are taken, and in which term.
func (c *Core) Leading() (term uint64, leading bool) { return c.term, c.leading }

// Commands queues commands that belong next to each other, in one entry if they fit; all or none. False means that
// too many wait already. There is one call for each.
func (c *Core) Commands(commands []*logv1.Command, calls []Call) bool {
	if len(c.commands.items)+len(commands) > c.config.MaxQueued {
		return false
	}
	c.commands.add(commands, calls, c.elapsed)
	return true
}

// Renew queues a renewal. It is never refused: overload must not cost a session its life. The newest of a session
// stands for those before it.
func (c *Core) Renew(message *logv1.Renewal, call Call) { c.renewals.add(message, call, c.elapsed) }

// Barrier asks for an entry from now on: the next one, which may be empty.
func (c *Core) Barrier(call Call) { c.barriers = append(c.barriers, call) }

// Hold stops proposing, until another Hold or the end of the term; what comes meanwhile waits. It is how leadership
// is handed over without an entry whose fate nobody knows: hold, wait until nothing is in flight, hand over.
func (c *Core) Hold(on bool) { c.held = on && c.leading }

// InFlight is the number of entries whose outcome is not known yet.
func (c *Core) InFlight() int { return c.inFlight }

// Sample counts the leader's time. Call it every 50 ms.
func (c *Core) Sample(now time.Duration) {
	passed := min(max(0, now-c.sampled), c.config.MaxSample)
	if plant.Is(plant.PauseCounts) {
		passed = now - c.sampled
	}
	c.elapsed += passed
	c.sampled = now
}

// waiting says whether something asks for an entry.
func (c *Core) waiting() bool {
	return len(c.commands.items)+len(c.renewals.order)+len(c.barriers) > 0
}

// Next returns what to propose now; nil when there is nothing, or enough in flight. wall is unix nanoseconds, zero
// when it is not to be trusted.
func (c *Core) Next(now time.Duration, wall int64, clock Clock) *Batch {
	if !c.leading || c.held || c.inFlight >= c.config.MaxInFlight {
		return nil
	}
	if !c.first && !c.waiting() && now < c.due(clock) {
		return nil
	}
	c.Sample(now)
	b := &Batch{
		Entry: &logv1.Entry{Header: &logv1.Header{Term: c.term, Elapsed: int64(c.elapsed), Wall: wall, Level: clock.Level}},
		reign: c.reign, Barriers: c.barriers,
	}
	c.barriers = nil
	used := c.renewals.take(b, c.config.MaxBytes/2)
	c.commands.take(b, c.config.MaxCommands, c.config.MaxBytes-used)
	b.Entry.Header.Due = int64(c.logged())
	c.first, c.proposed = false, now
	c.inFlight++
	return b
}

// logged is the time until which everything received has been taken out of the queues.
func (c *Core) logged() time.Duration {
	until := c.elapsed
	if plant.Is(plant.TickOvertakes) {
		return until
	}
	if len(c.commands.items) > 0 {
		until = min(until, c.commands.items[0].received)
	}
	if len(c.renewals.order) > 0 {
		until = min(until, c.renewals.order[0].received)
	}
	return until
}

// Done tells that an entry's outcome is known, or will never be.
func (c *Core) Done(b *Batch) {
	if b.reign == c.reign {
		c.inFlight--
	}
}

// due is when an entry must go out although nothing waits for one.
func (c *Core) due(clock Clock) time.Duration {
	const never = 1<<63 - 1
	if clock.Sessions > 0 && (clock.Deadline == 0 || clock.Deadline > clock.Uptime) {
		return c.proposed + c.config.Gap
	}
	if clock.Deadline == 0 {
		return never
	}
	// What has not been applied of this leader's time counts too; an estimate, for the entry itself decides.
	left := time.Duration(clock.Deadline - clock.Uptime)
	return c.proposed + min(max(left, time.Millisecond), c.config.IdleGap)
}

// Wait returns how long the driver may sleep before Next has something by itself; Done, Hold and calls come between.
func (c *Core) Wait(now time.Duration, clock Clock) time.Duration {
	if !c.leading || c.held || c.inFlight >= c.config.MaxInFlight {
		return time.Hour
	}
	if c.first || c.waiting() {
		return 0
	}
	return min(max(0, c.due(clock)-now), time.Hour)
}
