package propose

import (
	"go/ast"
	"go/parser"
	"go/token"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"google.golang.org/protobuf/proto"

	logv1 "github.com/lockstep-dev/lockstep/proto/gen/lockstep/log/v1"
)

const ms = time.Millisecond

func lead(config Config) *Core {
	c := New(config)
	c.Lead(7, 0)
	return c
}

func one(c *Core, command *logv1.Command, call Call) bool {
	return c.Commands([]*logv1.Command{command}, []Call{call})
}

func TestATermBeginsWithAnEntry(t *testing.T) {
	c := lead(Config{})
	b := c.Next(0, 0, Clock{})
	if b == nil || b.Entry.Header.Term != 7 || b.Entry.Header.Elapsed != 0 {
		t.Fatalf("the first entry is %v", b)
	}
	if b := c.Next(time.Hour, 0, Clock{}); b != nil {
		t.Fatalf("a cluster without deadlines proposes %v", b.Entry)
	}
}

// Word of leadership may come late: of one term when the next is led already, and then of that again. Its time goes on.
func TestATermThatIsBegunTwiceKeepsItsTime(t *testing.T) {
	c := New(Config{})
	c.Lead(7, 0)
	for now := time.Duration(0); now <= time.Second; now += 50 * time.Millisecond {
		c.Sample(now)
	}
	c.Lose()
	c.Lead(7, 1100*time.Millisecond)
	b := c.Next(1200*time.Millisecond, 0, Clock{})
	if got := time.Duration(b.Entry.Header.Elapsed); got != 1200*time.Millisecond {
		t.Errorf("after 1.2 s of term 7, in which it was begun twice, its time is %s", got)
	}
	c.Lose()
	c.Lead(9, 1300*time.Millisecond)
	if b := c.Next(1300*time.Millisecond, 0, Clock{}); b.Entry.Header.Elapsed != 0 {
		t.Errorf("term 9 begins with %s", time.Duration(b.Entry.Header.Elapsed))
	}
}

func TestATickDoesNotOvertakeWhatWasReceived(t *testing.T) {
	c := lead(Config{MaxCommands: 2})
	for i := range 5 {
		c.Sample(time.Duration(i) * 10 * ms)
		one(c, &logv1.Command{}, i)
	}
	c.Renew(&logv1.Renewal{Session: 1}, "old")
	c.Sample(50 * ms)
	c.Renew(&logv1.Renewal{Session: 1, Tokens: []int64{3}}, "new")
	for i, want := range []time.Duration{20 * ms, 40 * ms, 60 * ms} {
		b := c.Next(60*ms, 0, Clock{})
		if h := b.Entry.Header; time.Duration(h.Due) != want || time.Duration(h.Elapsed) != 60*ms {
			t.Fatalf("of five commands in pairs, 10 ms apart, entry %d at %s ticks as far as %s, want %s", i, time.Duration(h.Elapsed), time.Duration(h.Due), want)
		}
		if i == 0 && (len(b.Entry.Renewals) != 1 || !slices.Equal(b.Renewals[0], []Call{"old", "new"}) || len(b.Entry.Renewals[0].Tokens) != 1) {
			t.Fatalf("the renewals of the first entry are %v for %v", b.Entry.Renewals, b.Renewals)
		}
	}
}

// A renewal stands for those of its session before it: none of them is overtaken.
func TestATickDoesNotOvertakeARenewalThatWasRenewed(t *testing.T) {
	c := lead(Config{MaxBytes: 1})
	c.Renew(&logv1.Renewal{Session: 1}, "first")
	c.Renew(&logv1.Renewal{Session: 2}, "behind it")
	c.Sample(100 * ms)
	c.Renew(&logv1.Renewal{Session: 2}, "again")
	if b := c.Next(100*ms, 0, Clock{}); len(b.Entry.Renewals) != 1 || b.Entry.Header.Due != 0 {
		t.Fatalf("ticks beyond a renewal that waits: %v", b.Entry)
	}
}

func TestAPausedLeaderCountsLittle(t *testing.T) {
	c := lead(Config{})
	c.Next(0, 0, Clock{})
	c.Sample(50 * ms)
	c.Sample(60 * time.Second)
	c.Barrier("read")
	b := c.Next(60*time.Second, 0, Clock{})
	if got := time.Duration(b.Entry.Header.Elapsed); got != 300*ms {
		t.Fatalf("a pause of a minute counted %s", got)
	}
}

func TestEntriesWhileTimeMatters(t *testing.T) {
	for name, x := range map[string]struct {
		clock Clock
		want  time.Duration
	}{
		"a session lives":          {Clock{Sessions: 1}, 250 * ms},
		"a deadline":               {Clock{Deadline: int64(3 * time.Second)}, 3 * time.Second},
		"one far away":             {Clock{Deadline: int64(time.Hour)}, time.Minute},
		"one overdue":              {Clock{Deadline: 1, Uptime: 5}, ms},
		"more than a tick expires": {Clock{Deadline: 1, Uptime: 5, Sessions: 1}, ms},
	} {
		c := lead(Config{})
		c.Next(0, 0, x.clock)
		if got := c.Wait(0, x.clock); got != x.want {
			t.Errorf("%s: the next entry in %s, want %s", name, got, x.want)
		}
		if c.Next(x.want-1, 0, x.clock) != nil || c.Next(x.want, 0, x.clock) == nil {
			t.Errorf("%s: not at %s", name, x.want)
		}
	}
}

func TestBounds(t *testing.T) {
	c := lead(Config{MaxInFlight: 2, MaxQueued: 3})
	for i := range 3 {
		if !one(c, &logv1.Command{}, i) {
			t.Fatal("refused below the bound")
		}
	}
	if one(c, &logv1.Command{}, 4) {
		t.Fatal("taken above the bound")
	}
	landed := c.Next(0, 0, Clock{})
	c.Barrier(1)
	c.Next(0, 0, Clock{})
	c.Barrier(2)
	if c.Next(0, 0, Clock{}) != nil {
		t.Fatal("a third entry in flight")
	}
	c.Done(landed)
	if b := c.Next(0, 0, Clock{}); b == nil || b.Barriers[0] != 2 {
		t.Fatal("no entry when one has landed")
	}
}

func TestLosingGivesBackWhatWasNotProposed(t *testing.T) {
	c := lead(Config{})
	one(c, &logv1.Command{}, "a")
	c.Next(0, 0, Clock{})
	one(c, &logv1.Command{}, "b")
	c.Renew(&logv1.Renewal{Session: 1}, "c")
	c.Barrier("d")
	if back := c.Lose(); len(back) != 3 || back[0] != "b" {
		t.Fatalf("given back: %v", back)
	}
	if c.Next(0, 0, Clock{}) != nil {
		t.Fatal("proposes without leading")
	}
}

func named(name string, size int) *logv1.Command {
	return &logv1.Command{Envelope: &logv1.Envelope{Namespace: name, Reason: strings.Repeat("x", size)}}
}

// Commands that came together share an entry where they fit into one, and wait for the next for that.
func TestWhatCameTogetherStaysTogether(t *testing.T) {
	for name, x := range map[string]struct {
		groups [][]int // sizes
		want   string
	}{
		"by count":                      {[][]int{{1, 1}, {1, 1, 1}, {1}}, "aa bbbc"},
		"by bytes":                      {[][]int{{400}, {400, 400}, {1}}, "a bbc"},
		"too many for one entry":        {[][]int{{1}, {1, 1, 1, 1, 1}}, "abbb bb"},
		"a command too big for any":     {[][]int{{1}, {5000}, {1}}, "a b c"},
		"the last of what fits exactly": {[][]int{{1, 1}, {1, 1}, {1}}, "aabb c"},
	} {
		c := lead(Config{MaxCommands: 4, MaxBytes: 1000})
		for i, sizes := range x.groups {
			var commands []*logv1.Command
			var calls []Call
			for _, size := range sizes {
				commands = append(commands, named(string(rune('a'+i)), size))
				calls = append(calls, i)
			}
			c.Commands(commands, calls)
		}
		var got []string
		for len(c.commands.items) > 0 {
			b := c.Next(0, 0, Clock{})
			entry := ""
			for _, command := range b.Entry.Commands {
				entry += command.Envelope.Namespace
			}
			if len(b.Commands) != len(b.Entry.Commands) {
				t.Fatalf("%s: %d calls for %d commands", name, len(b.Commands), len(b.Entry.Commands))
			}
			got = append(got, entry)
			c.Done(b)
		}
		if s := strings.Join(got, " "); s != x.want {
			t.Errorf("%s: entries %q, want %q", name, s, x.want)
		}
	}
}

func TestCommandsThatCameTogetherAreTakenOrRefusedTogether(t *testing.T) {
	c := lead(Config{MaxQueued: 3})
	one(c, &logv1.Command{}, "a")
	three := []*logv1.Command{{}, {}, {}}
	if c.Commands(three, []Call{1, 2, 3}) {
		t.Fatal("took three where there was room for two")
	}
	if b := c.Next(0, 0, Clock{}); len(b.Commands) != 1 {
		t.Fatalf("proposes %d commands of which one was taken", len(b.Commands))
	}
}

// A hundred thousand sessions that renew at once go out in entries of bounded size, and no tick goes before the last.
func TestRenewalsAreBoundedByBytes(t *testing.T) {
	c := lead(Config{MaxBytes: 1 << 20, MaxInFlight: 1 << 20})
	const sessions = 100_000
	for i := range sessions {
		c.Renew(&logv1.Renewal{Namespace: "default", Session: int64(i + 1)}, i)
	}
	one(c, &logv1.Command{}, "command")
	seen, commands := 0, 0
	for seen < sessions {
		b := c.Next(ms, 0, Clock{})
		seen += len(b.Renewals)
		commands += len(b.Commands)
		if size := proto.Size(b.Entry); size > 1<<20 {
			t.Fatalf("an entry has %d bytes", size)
		}
		if whole := b.Entry.Header.Due == b.Entry.Header.Elapsed; whole != (seen == sessions) {
			t.Fatalf("the tick reaches %d of %d after %d renewals", b.Entry.Header.Due, b.Entry.Header.Elapsed, seen)
		}
	}
	if commands != 1 {
		t.Fatal("renewals starved the command")
	}
}

func TestNothingIsProposedWhileHeld(t *testing.T) {
	c := lead(Config{})
	first := c.Next(0, 0, Clock{Sessions: 1})
	c.Hold(true)
	one(c, &logv1.Command{}, "a")
	c.Renew(&logv1.Renewal{Session: 1}, "r")
	if b := c.Next(time.Second, 0, Clock{Sessions: 1}); b != nil || c.InFlight() != 1 {
		t.Fatalf("while held: %v, %d in flight", b, c.InFlight())
	}
	c.Done(first)
	c.Hold(false)
	b := c.Next(2*time.Second, 0, Clock{Sessions: 1})
	if c.InFlight() != 1 || len(b.Commands) != 1 || len(b.Renewals) != 1 {
		t.Fatalf("after the hold: %v", b)
	}
	c.Hold(true)
	c.Lose()
	c.Lead(8, 0)
	if c.Next(0, 0, Clock{}) == nil {
		t.Fatal("a hold outlives its term")
	}
}

// What lands after its term does not count for the next, which would have more in flight than it may.
func TestWhatLandsLateDoesNotCount(t *testing.T) {
	c := lead(Config{MaxInFlight: 1})
	old := c.Next(0, 0, Clock{})
	c.Lose()
	c.Lead(8, 0)
	c.Next(0, 0, Clock{})
	c.Done(old)
	c.Barrier("read")
	if b := c.Next(0, 0, Clock{}); b != nil {
		t.Fatalf("a second entry is in flight: %v", b.Entry)
	}
}

// The core takes time as an input, and starts nothing: the simulator steps the same code.
func TestTheCoreIsPure(t *testing.T) {
	out, err := exec.Command("go", "list", "-deps", ".").Output()
	if err != nil {
		t.Skipf("go list: %v", err)
	}
	for _, dep := range strings.Fields(string(out)) {
		for _, bad := range []string{"github.com/hashicorp", "github.com/cockroachdb", "go.etcd.io", "net/http", "lockstep/fsm", "lockstep/transport"} {
			if strings.Contains(dep, bad) {
				t.Errorf("depends on %s", dep)
			}
		}
	}
	files, err := filepath.Glob("*.go")
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range files {
		if strings.HasSuffix(name, "_test.go") {
			continue
		}
		file, err := parser.ParseFile(token.NewFileSet(), name, nil, 0)
		if err != nil {
			t.Fatal(err)
		}
		ast.Inspect(file, func(n ast.Node) bool {
			switch n := n.(type) {
			case *ast.GoStmt, *ast.SelectStmt, *ast.ChanType:
				t.Errorf("%s has a goroutine, select or channel", name)
			case *ast.SelectorExpr:
				if x, ok := n.X.(*ast.Ident); ok && x.Name == "time" && !slices.Contains([]string{"Duration", "Millisecond", "Second", "Minute", "Hour"}, n.Sel.Name) {
					t.Errorf("%s uses time.%s", name, n.Sel.Name)
				}
			}
			return true
		})
	}
}
