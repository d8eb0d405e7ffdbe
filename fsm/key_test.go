package fsm

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/lockstep-dev/lockstep/fsm/table"
	logv1 "github.com/lockstep-dev/lockstep/proto/gen/lockstep/log/v1"
	v1 "github.com/lockstep-dev/lockstep/proto/gen/lockstep/v1"
)

// keysOf are keys as name=value.
func keysOf(keys ...string) map[string]string {
	out := map[string]string{}
	for _, k := range keys {
		name, value, _ := strings.Cut(k, "=")
		out[name] = value
	}
	return out
}

func keyOf(k string) *v1.Key {
	name, value, _ := strings.Cut(k, "=")
	return &v1.Key{Name: name, Value: value}
}

// startKeyed starts an instance that has keys.
func (r *rig) startKeyed(workflow, id string, keys ...string) Result {
	r.t.Helper()
	c := startOf(workflow, id, `{}`)
	c.GetStartInstance().Keys = keysOf(keys...)
	return r.tell(c)
}

// keyed compares the live instances that have a key.
func (r *rig) keyed(k, want string) {
	r.t.Helper()
	if got := fmt.Sprint(r.m.keyedBy(r.m.namespaces[DefaultNamespace], keyOf(k), 100)); got != want {
		r.t.Fatalf("those with %s are %v; want %s", k, got, want)
	}
}

// listed are the instances that a list finds, page by page.
func (r *rig) listed(ask *v1.ListInstancesRequest) string {
	r.t.Helper()
	var ids []string
	for {
		page, err := r.m.ListInstances(ask)
		if err != nil {
			r.t.Fatal(err)
		}
		for _, i := range page.Instances {
			ids = append(ids, i.InstanceId)
		}
		if ask.Page = page.NextPage; ask.Page == "" {
			return fmt.Sprint(ids)
		}
	}
}

// A key leads to the live instances that have it, in the order of their ids, whatever was flushed; and to none that has ended.
func TestAKeyLeadsToLiveInstances(t *testing.T) {
	scenario(t, func(r *rig) {
		r.register(hears)
		r.startKeyed("w", "c", "order=7", "who=ann")
		r.startKeyed("w", "a", "order=7")
		must(r.m.Flush())
		r.startKeyed("w", "b", "order=7", "order7=", "who=bob")
		r.startKeyed("w", "d", "order=70")
		r.startKeyed("w", "e")
		r.keyed("order=7", "[a b c]")
		r.keyed("who=ann", "[c]")
		r.keyed("order=", "[]")
		if got := r.m.keyedBy(r.m.namespaces[DefaultNamespace], keyOf("order=7"), 2); !slices.Equal(got, []string{"a", "b"}) {
			r.t.Fatalf("the first two are %v", got)
		}
		r.midway()
		r.tell(signalOf("a", "go")) // the row of one is in the engine, of the other it may not be
		r.tell(signalOf("b", "go"))
		r.keyed("order=7", "[c]")
		r.startKeyed("w", "a", "order=7") // the one that is there, and has ended
		r.midway()
		r.keyed("order=7", "[c]")
		r.startKeyed("w", "0", "order=7")
		r.keyed("order=7", "[0 c]")
	})
}

// A cancelled instance has its keys as long as a worker has a step of it in hands.
func TestKeysLastUntilTheEnd(t *testing.T) {
	scenario(t, func(r *rig) {
		r.register(chain)
		r.startKeyed("chain", "i", "order=7")
		run := r.poll(r.session(10*second), "q", 1)[0]
		r.tell(&logv1.Command{Body: &logv1.Command_CancelInstance{CancelInstance: &v1.CancelInstanceRequest{InstanceId: "i"}}})
		r.keyed("order=7", "[i]")
		r.midway()
		if _, refusal := r.complete(run, `{}`); refusal != nil {
			r.t.Fatal(refusal)
		}
		r.keyed("order=7", "[]")
	})
}

// A list by keys has what matches all of them: of a state that is not the end by the index, else by looking at all.
func TestInstancesAreListedByKey(t *testing.T) {
	scenario(t, func(r *rig) {
		r.register(hears)
		for n := range 7 {
			r.startKeyed("w", fmt.Sprint("i", n), fmt.Sprint("n=", n%2), "all=1", fmt.Sprint("id=", n))
		}
		r.tell(signalOf("i3", "go"))
		r.midway()
		running := v1.InstanceState_INSTANCE_STATE_RUNNING
		for _, c := range []struct {
			state v1.InstanceState
			keys  []string
			want  string
		}{
			{running, []string{"n=1"}, "[i1 i5]"},
			{running, []string{"all=1", "n=0"}, "[i0 i2 i4 i6]"},
			{running, []string{"all=1", "id=3"}, "[]"},
			{0, []string{"n=1"}, "[i1 i3 i5]"},
			{v1.InstanceState_INSTANCE_STATE_COMPLETED, []string{"n=1"}, "[i3]"},
			{running, []string{"all=2"}, "[]"},
		} {
			if got := r.listed(&v1.ListInstancesRequest{State: c.state, Keys: keysOf(c.keys...), Limit: 2, Order: v1.ListOrder_LIST_ORDER_OLDEST}); got != c.want {
				r.t.Errorf("%s with %v are %s; want %s", stateName(c.state), c.keys, got, c.want)
			}
		}
	})
}

// A namespace that is made again knows nothing of the keys of the one before.
func TestKeysGoWithTheirNamespace(t *testing.T) {
	scenario(t, func(r *rig) {
		in := func(body *logv1.Command) {
			r.t.Helper()
			body.Envelope = &logv1.Envelope{Namespace: "n"}
			if out := r.tell(body).Outcomes[0]; out.Refusal != nil {
				r.t.Fatal(out.Refusal)
			}
		}
		keyed := func(id string) *logv1.Command {
			c := startOf("w", id, `{}`)
			c.GetStartInstance().Keys = keysOf("order=7")
			return c
		}
		in(&logv1.Command{Body: &logv1.Command_CreateNamespace{CreateNamespace: &v1.CreateNamespaceRequest{Namespace: "n"}}})
		in(registration(hears))
		in(keyed("a"))
		must(r.m.Flush())
		in(keyed("b"))
		in(&logv1.Command{Body: &logv1.Command_DeleteNamespace{DeleteNamespace: &v1.DeleteNamespaceRequest{Namespace: "n", Force: true}}})
		in(&logv1.Command{Body: &logv1.Command_CreateNamespace{CreateNamespace: &v1.CreateNamespaceRequest{Namespace: "n"}}})
		in(registration(hears))
		in(keyed("c"))
		r.midway()
		if got := r.m.keyedBy(r.m.namespaces["n"], keyOf("order=7"), 9); !slices.Equal(got, []string{"c"}) {
			r.t.Fatalf("those with the key are %v", got)
		}
	})
}

// Below its level there is no index, whatever version applies the log. A cluster that comes to the level has the keys of all
// instances that live then, on a replica that has them in memory as on one that was opened between.
func TestKeysAreIndexedFromTheirLevelOn(t *testing.T) {
	var dumps []string
	for _, opened := range []bool{false, true} {
		engine := table.NewMemory()
		m, err := OpenAt(engine, keysLevel-1)
		must(err)
		r := &rig{t: t, m: m, engine: engine, level: keysLevel - 1}
		r.apply(&logv1.Entry{})
		r.register(hears)
		for n := range 4 {
			r.startKeyed("w", fmt.Sprint("i", n), "order=7", fmt.Sprint("n=", n))
		}
		r.tell(signalOf("i1", "go"))
		if opened {
			must(m.Flush())
			r.m, err = OpenAt(engine, keysLevel-1)
			must(err)
			r.tell(signalOf("i2", "other")) // one of them is in memory again
		} else {
			r.tell(signalOf("i2", "other"))
		}
		r.keyed("order=7", "[]")
		if got := r.listed(&v1.ListInstancesRequest{State: v1.InstanceState_INSTANCE_STATE_RUNNING, Keys: keysOf("order=7")}); got != "[i0 i2 i3]" {
			t.Errorf("without an index there are %s", got)
		}
		r.tell(&logv1.Command{Body: &logv1.Command_RaiseLevel{RaiseLevel: &logv1.RaiseLevel{Level: keysLevel}}})
		r.keyed("order=7", "[i0 i2 i3]")
		r.tell(signalOf("i3", "go"))
		r.startKeyed("w", "i9", "order=7")
		r.keyed("order=7", "[i0 i2 i9]")
		r.index += checkpointEvery
		r.apply(&logv1.Entry{})
		dumps = append(dumps, dump(r.m))
		r.reopened()
	}
	if dumps[0] != dumps[1] {
		t.Errorf("one replica is\n%s\nand the one that was opened between\n%s", dumps[0], dumps[1])
	}
}
