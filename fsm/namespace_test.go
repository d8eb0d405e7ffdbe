package fsm

import (
	"errors"
	"testing"

	"google.golang.org/protobuf/proto"

	"github.com/lockstep-dev/lockstep/fsm/table"
	logv1 "github.com/lockstep-dev/lockstep/proto/gen/lockstep/log/v1"
	v1 "github.com/lockstep-dev/lockstep/proto/gen/lockstep/v1"
)

// A namespace that is deleted and made again goes on with higher positions; who asks for older events is told which is
// the first that is kept, and that one is there.
func TestACompactedPositionSaysWhereToGoOn(t *testing.T) {
	r := newRig(t)
	in := &logv1.Envelope{Namespace: "n"}
	create := &logv1.Command{Envelope: in, Body: &logv1.Command_CreateNamespace{CreateNamespace: &v1.CreateNamespaceRequest{Namespace: "n"}}}
	remove := &logv1.Command{Envelope: in, Body: &logv1.Command_DeleteNamespace{DeleteNamespace: &v1.DeleteNamespaceRequest{Namespace: "n"}}}
	for _, cmd := range []*logv1.Command{create, remove, create} {
		if _, refusal := r.do(cmd); refusal != nil {
			t.Fatal(refusal)
		}
	}
	_, err := r.m.Events("n", 0, 10)
	var refusal *Refusal
	if !errors.As(err, &refusal) || refusal.Detail.Code != v1.Code_CODE_POSITION_COMPACTED {
		t.Fatalf("events from the beginning: %v", err)
	}
	events, err := r.m.Events("n", refusal.Detail.Position-1, 10)
	if err != nil || len(events) == 0 || events[0].Position != refusal.Detail.Position {
		t.Fatalf("the first that is kept is %d, and what is read from there is %v, %v", refusal.Detail.Position, events, err)
	}
}

// The default namespace is there before anything is in it, and must be so again after a start: whatever was flushed, and
// from a snapshot too. Else a replica that started again would refuse what the others accept.
func TestTheDefaultNamespaceIsThereAgain(t *testing.T) {
	for name, again := range map[string]func(*testing.T, *rig) *Machine{
		"nothing was flushed": func(t *testing.T, _ *rig) *Machine {
			m, err := Open(table.NewMemory())
			if err != nil {
				t.Fatal(err)
			}
			return m
		},
		"an entry was flushed": func(t *testing.T, r *rig) *Machine {
			if err := r.m.Flush(); err != nil {
				t.Fatal(err)
			}
			m, err := Open(r.engine)
			if err != nil {
				t.Fatal(err)
			}
			return m
		},
		"from a snapshot": func(t *testing.T, r *rig) *Machine {
			m, _ := restored(t, r.m)
			return m
		},
	} {
		t.Run(name, func(t *testing.T) {
			r := newRig(t) // has applied an entry that does nothing
			want := dump(r.m)
			m := again(t, r)
			if m.group.Index > 0 && dump(m) != want {
				t.Errorf("opened again:\n%s\nwas:\n%s", dump(m), want)
			}
			if ns, refusal := m.namespace(""); refusal != nil {
				t.Errorf("%v: %v", ns, refusal)
			}
		})
	}
}

// A namespace that is made again has nothing of the one before, also before the rows of that are gone from the engine: else a
// replica that has flushed since would answer otherwise than one that has not.
func TestANamespaceThatIsMadeAgainIsEmpty(t *testing.T) {
	scenario(t, func(r *rig) {
		in := func(c *logv1.Command) proto.Message {
			r.t.Helper()
			c.Envelope = &logv1.Envelope{Namespace: "n"}
			out := r.tell(c).Outcomes[0]
			if out.Refusal != nil {
				r.t.Fatal(out.Refusal)
			}
			return out.Reply
		}
		live := func() {
			r.t.Helper()
			in(&logv1.Command{Body: &logv1.Command_CreateNamespace{CreateNamespace: &v1.CreateNamespaceRequest{Namespace: "n"}}})
			in(registration(hears))
			if reply := in(startOf("w", "i", `{}`)).(*v1.StartInstanceResponse); reply.Existing {
				r.t.Fatal("the instance of the namespace before is found")
			}
			s := in(&logv1.Command{Body: &logv1.Command_OpenSession{OpenSession: &logv1.OpenSession{Ttl: 60 * second}}}).(*v1.Session)
			lock := &logv1.AcquireLock{Session: sessionID(s.SessionId), Lock: "l"}
			in(&logv1.Command{Body: &logv1.Command_AcquireLock{AcquireLock: lock}})
		}
		live()
		must(r.m.Flush())
		in(&logv1.Command{Body: &logv1.Command_DeleteNamespace{DeleteNamespace: &v1.DeleteNamespaceRequest{Namespace: "n", Force: true}}})
		if _, err := r.m.GetLock(&v1.GetLockRequest{Namespace: "n", Lock: "l"}); err == nil {
			r.t.Fatal("a lock of a namespace that was deleted is found")
		}
		live()
		history, err := r.m.GetHistory(&v1.GetHistoryRequest{Namespace: "n", InstanceId: "i"})
		if err != nil || len(history.Events) != 2 {
			r.t.Fatalf("its history is %v, %v", history, err)
		}
		r.midway()
	})
}
