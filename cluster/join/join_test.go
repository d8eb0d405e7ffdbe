package join

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"reflect"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/lockstep-dev/lockstep/cluster/gossip"
)

// world is nodes that reach each other by name, with gossip that says what a test has it say. A node's address is its id
// and "-peer".
type world struct {
	mu    sync.Mutex // guards what follows, and every node's fields
	nodes map[string]*fake
}

// fake is a node with what is around it.
type fake struct {
	world   *world
	joiner  *Joiner
	id      string
	address string
	silent  bool // to who asks

	seen    []gossip.Member
	rival   *gossip.Member
	changed chan struct{}

	state   bool
	broken  error
	known   string // address in the cluster's configuration
	founded []gossip.Member
	asked   []string // to add this node
	refuse  error    // what it says when it is asked to add another
}

func newWorld() *world { return &world{nodes: map[string]*fake{}} }

func (w *world) node(id string, expect int) *fake {
	f := &fake{world: w, id: id, address: id + "-peer", changed: make(chan struct{})}
	f.joiner = New(Config{NodeID: id, PeerAddress: f.address, Expect: expect, Node: f, Around: f, Peers: f})
	w.mu.Lock()
	defer w.mu.Unlock()
	w.nodes[f.address] = f
	return f
}

// sees has gossip tell a node of others, and of itself.
func (f *fake) sees(ids ...string) {
	f.change(func() {
		f.seen = nil
		for _, id := range append(ids, f.id) {
			f.seen = append(f.seen, gossip.Member{NodeID: id, PeerAddress: id + "-peer", Alive: true})
		}
		slices.SortFunc(f.seen, func(a, b gossip.Member) int { return cmp.Compare(a.NodeID, b.NodeID) })
	})
}

func (f *fake) change(fn func()) {
	f.world.mu.Lock()
	defer f.world.mu.Unlock()
	fn()
	close(f.changed)
	f.changed = make(chan struct{})
}

func (f *fake) look(fn func()) {
	f.world.mu.Lock()
	defer f.world.mu.Unlock()
	fn()
}

func (f *fake) Members() (out []gossip.Member) {
	f.look(func() { out = slices.Clone(f.seen) })
	return out
}

func (f *fake) Changed() (c <-chan struct{}) {
	f.look(func() { c = f.changed })
	return c
}

func (f *fake) Rival() (m gossip.Member, found bool) {
	f.look(func() {
		if f.rival != nil {
			m, found, f.rival = *f.rival, true, nil
		}
	})
	return m, found
}

func (f *fake) HasState() (has bool, err error) {
	f.look(func() { has, err = f.state, f.broken })
	return has, err
}

func (f *fake) PeerAddress() (known string) {
	f.look(func() { known = f.known })
	return known
}

func (f *fake) Bootstrap(members []gossip.Member) error {
	f.look(func() { f.founded, f.state, f.known = slices.Clone(members), true, f.address })
	return nil
}

func (f *fake) Ask(_ context.Context, address string) (Standing, error) {
	var it *fake
	f.look(func() {
		if it = f.world.nodes[address]; it != nil && it.silent {
			it = nil
		}
	})
	if it == nil {
		return Standing{}, errors.New("no route")
	}
	return it.joiner.Standing()
}

func (f *fake) Join(_ context.Context, address string) (err error) {
	f.look(func() {
		f.asked = append(f.asked, address)
		it := f.world.nodes[address]
		switch {
		case it == nil || it.silent:
			err = errors.New("no route")
		case it.refuse != nil:
			err = it.refuse
		default:
			f.state, f.known = true, f.address
		}
	})
	return err
}

// run runs nodes until the test ends; each tells why it stopped.
func run(t *testing.T, nodes ...*fake) (why []chan error) {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	var running sync.WaitGroup
	for _, f := range nodes {
		stopped := make(chan error, 1)
		why = append(why, stopped)
		running.Go(func() { stopped <- f.joiner.Run(ctx) })
	}
	t.Cleanup(func() { cancel(); running.Wait() })
	return why
}

func (f *fake) foundedWith() string {
	var ids []string
	f.look(func() {
		for _, m := range f.founded {
			ids = append(ids, m.NodeID+"="+m.PeerAddress)
		}
	})
	return strings.Join(ids, " ")
}

// inBubble runs a test in its own time.
func inBubble(t *testing.T, fn func(t *testing.T, w *world)) {
	synctest.Test(t, func(t *testing.T) { fn(t, newWorld()) })
}

func pass(d time.Duration) {
	time.Sleep(d) // in the bubble's time
	synctest.Wait()
}

func TestNewNodesFoundOneCluster(t *testing.T) {
	inBubble(t, func(t *testing.T, w *world) {
		a, b, c := w.node("a", 3), w.node("b", 3), w.node("c", 3)
		a.sees()
		b.sees("a")
		c.sees("b")
		run(t, a, b, c)
		pass(time.Minute)
		a.sees("b", "c")
		b.sees("a", "c")
		pass(time.Minute)
		for _, f := range []*fake{a, b, c} {
			if got := f.foundedWith(); got != "" {
				t.Fatalf("node %s founded with %s, and c does not see a", f.id, got)
			}
		}
		c.sees("a", "b")
		pass(time.Minute)
		for _, f := range []*fake{a, b, c} {
			got, has := f.foundedWith(), f.state
			if want := "a=a-peer b=b-peer c=c-peer"; !has || got != want && got != "" {
				t.Errorf("node %s: part of a cluster: %v; founded with %q, want %q", f.id, has, got, want)
			}
		}
	})
}

// Whoever does not answer may be part of a cluster.
func TestASilentNodeHoldsUpFounding(t *testing.T) {
	inBubble(t, func(t *testing.T, w *world) {
		a, b := w.node("a", 2), w.node("b", 2)
		b.silent = true
		a.sees("b")
		b.sees("a")
		run(t, a)
		pass(time.Minute)
		if got := a.foundedWith(); got != "" {
			t.Fatalf("a founded with %s", got)
		}
		b.look(func() { b.silent = false })
		pass(time.Second)
		if got := a.foundedWith(); got != "a=a-peer b=b-peer" {
			t.Fatalf("a founded with %q", got)
		}
	})
}

func TestANewNodeJoinsWhatIsThere(t *testing.T) {
	inBubble(t, func(t *testing.T, w *world) {
		a, m, n := w.node("a", 3), w.node("m", 3), w.node("n", 3)
		m.state, n.state, m.refuse, n.refuse = true, true, errors.New("no leader is known now"), errors.New("no leader is known now")
		a.sees("m", "n")
		run(t, a)
		pass(time.Second)
		if has, _ := a.HasState(); has || len(a.asked) < 4 {
			t.Fatalf("asked %v", a.asked)
		}
		n.look(func() { n.refuse = nil })
		pass(time.Second)
		if has, _ := a.HasState(); !has || a.foundedWith() != "" {
			t.Fatalf("part of a cluster: %v; founded %q", has, a.foundedWith())
		}
		asked := len(a.asked)
		pass(time.Hour)
		if len(a.asked) != asked {
			t.Fatal("a member asks to be added")
		}
	})
}

// Somebody else at an address that gossip remembers for another is not believed.
func TestAnAnswerMustBeOfTheNodeThatWasAsked(t *testing.T) {
	inBubble(t, func(t *testing.T, w *world) {
		a, b, x := w.node("a", 2), w.node("b", 2), w.node("x", 2)
		x.state = true
		w.nodes[b.address] = x
		a.sees("b")
		run(t, a)
		pass(time.Minute)
		if has, _ := a.HasState(); has || len(a.asked) > 0 {
			t.Fatal("a took x for b")
		}
	})
}

func TestAMemberThatMovedIsLookedForAnew(t *testing.T) {
	inBubble(t, func(t *testing.T, w *world) {
		a, m := w.node("a", 0), w.node("m", 0)
		a.state, a.known, m.state = true, "elsewhere", true
		a.sees("m")
		run(t, a)
		pass(time.Minute)
		if !slices.Equal(a.asked, []string{"m-peer"}) || a.PeerAddress() != "a-peer" {
			t.Fatalf("asked %v, known at %s", a.asked, a.PeerAddress())
		}
	})
}

func TestAMemberThatWasRemovedStaysAway(t *testing.T) {
	inBubble(t, func(t *testing.T, w *world) {
		a, m := w.node("a", 3), w.node("m", 3)
		a.state, m.state = true, true
		a.sees("m")
		run(t, a)
		pass(time.Hour)
		if len(a.asked) > 0 {
			t.Fatal("a node that an operator removed asked to be added")
		}
	})
}

// Of two processes under one id the younger ends, however it learns of the other; the older goes on.
func TestTheSecondOfOneIDEnds(t *testing.T) {
	for name, learn := range map[string]func(older, younger *fake){
		"by gossip": func(older, younger *fake) {
			older.change(func() { older.rival = &gossip.Member{NodeID: "a", PeerAddress: younger.address} })
			younger.change(func() { younger.rival = &gossip.Member{NodeID: "a", PeerAddress: older.address} })
		},
		"by the configuration": func(older, younger *fake) {
			younger.look(func() { younger.state, younger.known = true, older.address })
		},
	} {
		t.Run(name, func(t *testing.T) {
			inBubble(t, func(t *testing.T, w *world) {
				older := w.node("a", 1)
				older.sees()
				first := run(t, older)
				pass(3 * time.Hour)
				younger := w.node("a", 1)
				w.look(func() { delete(w.nodes, "a-peer"); w.nodes["a-peer"], w.nodes["a2-peer"] = older, younger })
				younger.look(func() { younger.address, younger.joiner.config.PeerAddress = "a2-peer", "a2-peer" })
				younger.sees()
				learn(older, younger)
				second := run(t, younger)
				pass(time.Minute)
				select {
				case err := <-second[0]:
					if want := "node a runs already, at a-peer for 3h0m0s: "; !strings.HasPrefix(fmt.Sprint(err), want) {
						t.Fatalf("got %v, want %s", err, want)
					}
				default:
					t.Fatal("the younger goes on")
				}
				if len(first[0]) > 0 {
					t.Fatalf("the older ended: %v", <-first[0])
				}
				if len(younger.asked) > 0 {
					t.Fatal("the younger had the cluster look for it at its own address")
				}
			})
		})
	}
}

func (w *world) look(fn func()) {
	w.mu.Lock()
	defer w.mu.Unlock()
	fn()
}

// What gossip remembers of a node from before it moved is no rival.
func TestAMemoryIsNoRival(t *testing.T) {
	inBubble(t, func(t *testing.T, w *world) {
		a, b := w.node("a", 1), w.node("b", 1)
		a.sees()
		why := run(t, a)
		for _, address := range []string{"nobody", b.address, a.address, ""} {
			a.change(func() { a.rival = &gossip.Member{NodeID: "a", PeerAddress: address} })
			pass(time.Minute)
		}
		if len(why[0]) > 0 {
			t.Fatalf("a ended: %v", <-why[0])
		}
	})
}

func TestAStoreThatCannotBeReadEndsTheNode(t *testing.T) {
	inBubble(t, func(t *testing.T, w *world) {
		a := w.node("a", 1)
		a.sees()
		a.broken = errors.New("input/output error")
		why := run(t, a)
		pass(time.Second)
		if len(why[0]) == 0 {
			t.Fatal("a goes on")
		}
		if err := <-why[0]; !errors.Is(err, a.broken) {
			t.Fatal(err)
		}
		if _, err := a.joiner.Answer(); !errors.Is(err, a.broken) {
			t.Fatalf("a answers others: %v", err)
		}
	})
}

func TestAStandingIsReadAsItWasAnswered(t *testing.T) {
	inBubble(t, func(t *testing.T, w *world) {
		a := w.node("a", 3)
		a.sees("b")
		b, err := a.joiner.Answer()
		if err != nil {
			t.Fatal(err)
		}
		got, err := Read(b)
		want, _ := a.joiner.Standing()
		if err != nil || !reflect.DeepEqual(got, want) || !slices.Equal(got.Sees, []string{"a=a-peer", "b=b-peer"}) {
			t.Fatalf("%+v, %v; want %+v", got, err, want)
		}
		if _, err := Read([]byte("{")); err == nil {
			t.Fatal("half an answer is read")
		}
	})
}
