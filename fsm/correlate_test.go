package fsm

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"google.golang.org/protobuf/types/known/durationpb"

	logv1 "github.com/lockstep-dev/lockstep/proto/gen/lockstep/log/v1"
	v1 "github.com/lockstep-dev/lockstep/proto/gen/lockstep/v1"
)

// by is a signal by key, whose id is its name with a number behind it.
func by(k, name string, n int) *v1.SendSignalRequest {
	return &v1.SendSignalRequest{Key: keyOf(k), Name: name, SignalId: fmt.Sprint(name, n), PayloadBytes: &v1.Payload{Bytes: fmt.Append(nil, n)}}
}

func sent(r *v1.SendSignalRequest) *logv1.Command {
	return &logv1.Command{Body: &logv1.Command_SendSignal{SendSignal: r}}
}

// sends sends a signal, and compares what is answered, and told.
func (r *rig) sends(s *v1.SendSignalRequest, want string, events ...string) {
	r.t.Helper()
	got := r.tell(sent(s))
	if said := sayReply(got.Outcomes[0]); said != want || !slices.Equal(kinds(got), events) {
		r.t.Fatalf("signal %s by %v is answered %s, %v; want %s, %v", s.SignalId, s.Key, said, kinds(got), want, events)
	}
}

func sayReply(o Outcome) string {
	if o.Refusal != nil {
		return CodeName(o.Refusal.Code)
	}
	reply := o.Reply.(*v1.SendSignalResponse)
	var said []string
	for _, s := range []struct {
		is   bool
		text string
	}{
		{reply.Duplicate, "again"}, {reply.Started, "started"}, {reply.InstanceId != "", reply.InstanceId}, {reply.Reached > 0, fmt.Sprint("reached ", reply.Reached)}, {reply.Delivered, "delivered"},
	} {
		if s.is {
			said = append(said, s.text)
		}
	}
	return strings.Join(said, ", ")
}

// rows counts what is kept under keys, and what is remembered of signals by key.
func (r *rig) rows() string {
	count := func(tbl byte) (n int) {
		r.m.scan(key(tbl, DefaultNamespace), key(tbl, DefaultNamespace+"\x01"), func(_, _ []byte) bool { n++; return true })
		return n
	}
	return fmt.Sprint(count(tableKept), count(tableTold), count(tableOver))
}

const hearsTwo = "workflow: two\nsteps:\n  a: {signal: {name: go}}\n  b: {needs: [a], signal: {name: on}}\n"

// A signal by key goes to the one live instance that has the key, whether it waits for that or not.
func TestASignalByKeyFindsItsInstance(t *testing.T) {
	scenario(t, func(r *rig) {
		r.register(hearsTwo)
		r.startKeyed("two", "i", "order=7", "who=ann")
		r.startKeyed("two", "j", "order=8", "who=ann")
		r.sends(by("order=7", "on", 1), "i", "signal.received", "signal.correlated")
		r.midway()
		r.sends(by("order=7", "go", 1), "i, delivered", "signal.received", "signal.delivered a", "step.completed a", "step.waiting b", "signal.delivered b", "step.completed b", "instance.completed", "signal.correlated")
		r.sends(by("order=7", "go", 1), "again, i, delivered")
		r.sends(by("order=7", "on", 1), "again, i")
		r.is("i", "COMPLETED a=COMPLETED b=COMPLETED")
		r.is("j", "RUNNING a=WAITING b=PENDING")
		if e := r.why("j", "a"); !strings.Contains(e.Sentence, "to this instance, or by the key order=8, or by the key who=ann.") {
			r.t.Errorf("explained as %q", e.Sentence)
		}
	})
}

// A signal that its instance had by its own id is no other by a key, also when that instance has ended.
func TestASignalByKeyIsTheOneBefore(t *testing.T) {
	scenario(t, func(r *rig) {
		r.register(hears)
		r.startKeyed("w", "i", "order=7")
		r.tell(sent(&v1.SendSignalRequest{InstanceId: "i", Name: "never", SignalId: "never1"}))
		r.sends(by("order=7", "never", 1), "again, i", "signal.correlated")
		r.tell(signalOf("i", "go"))
		r.midway()
		r.startKeyed("w", "j", "order=7")
		r.sends(by("order=7", "never", 1), "again, i")
	})
}

// What several instances have names none of them, and the refusal says who they are.
func TestAKeyOfSeveralIsRefused(t *testing.T) {
	scenario(t, func(r *rig) {
		r.register(hears)
		for n := range 4 {
			r.startKeyed("w", fmt.Sprint("i", n), "who=ann")
		}
		_, refusal := r.do(sent(by("who=ann", "go", 1)))
		if refusal.GetCode() != v1.Code_CODE_KEY_AMBIGUOUS || !strings.Contains(refusal.Reason, "who=ann is that of 4 live instances: i0, i1, i2") {
			r.t.Fatalf("answered %v", refusal)
		}
		for n := range 3 {
			r.tell(signalOf(fmt.Sprint("i", n), "go"))
		}
		r.midway()
		r.sends(by("who=ann", "go", 1), "i3, delivered", "signal.received", "signal.delivered a", "step.completed a", "instance.completed", "signal.correlated")
	})
}

// With nobody who has the key a signal is kept for the first that comes with it: that one has it before its first step, and
// no other has.
func TestASignalIsKeptForAKey(t *testing.T) {
	scenario(t, func(r *rig) {
		r.register(hearsTwo)
		r.sends(by("order=7", "go", 1), "", "signal.kept")
		r.sends(by("order=7", "on", 1), "", "signal.kept")
		r.sends(by("order=8", "on", 1), "", "signal.kept")
		r.sends(by("order=7", "go", 1), "again")
		r.midway()
		started := r.startKeyed("two", "i", "order=7", "who=ann")
		if got := fmt.Sprint(kinds(started)); got != "[instance.started signal.received signal.received step.waiting a signal.delivered a step.completed a step.waiting b signal.delivered b step.completed b instance.completed]" {
			r.t.Fatalf("started: %s", got)
		}
		if d := started.Events()[1].Data; d.KeyName != "order" || d.KeyValue != "7" || d.Code != "go1" {
			r.t.Fatalf("received: %v", d)
		}
		r.sends(by("order=7", "go", 1), "again, i")
		r.midway()
		r.startKeyed("two", "j", "order=7") // a retry is no signal for who comes next
		r.sends(by("order=7", "go", 1), "again, i")
		r.is("j", "RUNNING a=WAITING b=PENDING")
		r.sends(by("order=7", "go", 2), "j, delivered", "signal.received", "signal.delivered a", "step.completed a", "step.waiting b", "signal.correlated")
		if r.rows() != "1 4 4" {
			r.t.Fatalf("there are %s rows", r.rows())
		}
	})
}

// The TTL counts from the sending: nobody takes what is over, and nothing of it is left then.
func TestAKeptSignalHasItsTime(t *testing.T) {
	scenario(t, func(r *rig) {
		r.register(hears)
		brief := by("order=7", "go", 1)
		brief.Ttl = durationpb.New(5 * time.Second)
		r.sends(brief, "", "signal.kept")
		r.sends(by("order=7", "go", 2), "", "signal.kept")
		if c := r.m.Clock(); c.Deadline != c.Uptime+5*second {
			r.t.Fatalf("the next deadline is %d at uptime %d", c.Deadline, c.Uptime)
		}
		r.midway()
		r.tick(5*second - 1)
		r.sends(brief, "again")
		r.midway()
		gone := r.tick(1)
		if e := gone.Events(); len(e) != 1 || e[0].Type != "lockstep.signal.expired.v1" || e[0].Data.Code != "go1" || e[0].Subject != "key/order/7" {
			r.t.Fatalf("at its time: %v", e)
		}
		r.sends(brief, "", "signal.kept") // it is another one now
		r.midway()
		r.elapsed += 6 * second // and nobody has said yet that it is over
		r.startKeyed("w", "i", "order=7")
		if i, _ := r.m.GetInstance(&v1.GetInstanceRequest{InstanceId: "i"}); string(i.Runs[0].OutputPayload.GetBytes()) != "2" {
			r.t.Fatalf("it took %v", i.Runs[0])
		}
		r.tick(8 * 86400 * second)
		if c := r.m.Clock(); r.rows() != "0 0 0" || c.Deadline != 0 {
			r.t.Fatalf("there are %s rows; next is %d", r.rows(), c.Deadline)
		}
	})
}

// A broadcast reaches all that have the key when it is sent, says how many, and is not kept. Of those that had a signal of its id
// none has it again.
func TestABroadcastReachesAll(t *testing.T) {
	scenario(t, func(r *rig) {
		r.register(hears)
		all := func(n int) *v1.SendSignalRequest {
			s := by("who=ann", "go", n)
			s.Broadcast = true
			return s
		}
		r.sends(all(0), "", "signal.broadcast")
		for n := range 3 {
			r.startKeyed("w", fmt.Sprint("i", n), "who=ann")
		}
		r.startKeyed("w", "other", "who=bob")
		r.sends(all(0), "again")
		r.tell(sent(&v1.SendSignalRequest{InstanceId: "i1", Name: "never", SignalId: "go1"}))
		r.midway()
		got := r.tell(sent(all(1)))
		if said := sayReply(got.Outcomes[0]); said != "reached 2, delivered" {
			r.t.Fatalf("answered %s: %v", said, kinds(got))
		}
		r.midway()
		r.sends(all(1), "again, reached 2, delivered")
		r.is("i0", "COMPLETED a=COMPLETED")
		r.is("i1", "RUNNING a=WAITING")
		r.is("other", "RUNNING a=WAITING")
	})
}

// A broadcast to more than it may reach is refused, and reaches nobody.
func TestABroadcastIsBounded(t *testing.T) {
	r := newRig(t)
	r.register(hears)
	for n := range broadcastLimit + 1 {
		r.startKeyed("w", fmt.Sprintf("i%03d", n), "who=ann")
	}
	all := by("who=ann", "go", 1)
	all.Broadcast = true
	_, refusal := r.do(sent(all))
	if refusal.GetCode() != v1.Code_CODE_KEY_AMBIGUOUS || !strings.Contains(refusal.Reason, "more than 100 live instances: i000, i001, i002; a broadcast reaches 100") {
		t.Fatalf("answered %v", refusal)
	}
	r.tell(signalOf("i050", "go"))
	if said := sayReply(r.tell(sent(all)).Outcomes[0]); said != "reached 100, delivered" {
		t.Fatalf("answered %s", said)
	}
	if err := check(r.m); err != nil {
		t.Error(err)
	}
	r.reopened()
}

// Under one key a hundred signals are kept, and a MiB of payload; one that is over makes room.
func TestWhatIsKeptUnderAKeyIsBounded(t *testing.T) {
	r := newRig(t)
	r.register(hears)
	for n := range keptLimit {
		r.sends(by("order=7", "go", n), "", "signal.kept")
	}
	r.sends(by("order=7", "go", keptLimit), "OVERLOADED")
	r.sends(by("order=8", "go", keptLimit), "", "signal.kept")
	large := func(n, size int) *v1.SendSignalRequest {
		s := by("order=9", "go", n)
		s.PayloadBytes.Bytes, s.Ttl = make([]byte, size), durationpb.New(time.Second)
		return s
	}
	r.sends(large(1, keptBytes-1), "", "signal.kept")
	r.sends(large(2, 2), "OVERLOADED")
	r.sends(large(3, 1), "", "signal.kept")
	r.tick(second)
	r.sends(large(4, 2), "", "signal.kept")
	r.startKeyed("w", "i", "order=7")
	if n := len(r.m.namespaces[DefaultNamespace].instances["i"].rec.Seen); n != 0 {
		t.Errorf("an instance that has ended remembers %d signals", n)
	}
	if err := check(r.m); err != nil {
		t.Error(err)
	}
}

// Hundreds that are over at once go in one tick, and what they leave behind is nothing.
func TestManySignalsAreOverAtOnce(t *testing.T) {
	r := newRig(t)
	for n := range 450 {
		s := by(fmt.Sprint("order=", n), "go", n)
		s.Ttl = durationpb.New(time.Second)
		r.sends(s, "", "signal.kept")
		if n == 200 {
			must(r.m.Flush())
		}
	}
	if got := len(r.tick(second).Events()); got != 450 || r.rows() != "0 0 0" {
		t.Fatalf("%d are over, and left are %s rows", got, r.rows())
	}
	r.reopened()
}

// What makes no sense is refused.
func TestASignalByKeySaysWhichKey(t *testing.T) {
	r := newRig(t)
	for why, s := range map[string]*v1.SendSignalRequest{
		"an instance and a key": {InstanceId: "i", Key: keyOf("a=b"), Name: "go", SignalId: "1"},
		"a key without a name":  {Key: keyOf("=b"), Name: "go", SignalId: "1"},
		"no name":               {Key: keyOf("a=b"), SignalId: "1"},
		"no id":                 {Key: keyOf("a=b"), Name: "go"},
		"a broadcast to one":    {InstanceId: "i", Broadcast: true, Name: "go", SignalId: "1"},
	} {
		if _, refusal := r.do(sent(s)); refusal.GetCode() != v1.Code_CODE_INVALID {
			t.Errorf("%s: answered %v", why, refusal)
		}
	}
}

// Below its level a signal by key is answered as by a version that knows no keys.
func TestAnOlderLevelKnowsNoSignalsByKey(t *testing.T) {
	r := newRig(t)
	r.m.group.Level = keysLevel - 1
	if _, refusal := r.do(sent(by("order=7", "go", 1))); refusal.GetCode() != v1.Code_CODE_INSTANCE_NOT_FOUND {
		t.Errorf("answered %v", refusal)
	}
	if LevelOf(sent(by("order=7", "go", 1))) != keysLevel || LevelOf(signalOf("i", "go")) != 0 || LevelOf(sent(&v1.SendSignalRequest{Broadcast: true})) != keysLevel {
		t.Error("the levels of signals are not theirs")
	}
}
