package fsm

import (
	"fmt"
	"testing"

	logv1 "github.com/lockstep-dev/lockstep/proto/gen/lockstep/log/v1"
	v1 "github.com/lockstep-dev/lockstep/proto/gen/lockstep/v1"
)

// toMigrate is an order, and migrated what it goes on as: b has another name, n is new before c, e is there no more, and d is in another queue.
const (
	toMigrate = `
workflow: w
steps:
  a: {queue: q}
  b: {needs: [a], queue: q, locks: [{name: "stock"}]}
  c: {needs: [b], queue: q}
  d: {needs: [a], queue: q}
  e: {needs: [c], queue: q}
`
	migrated = `
workflow: w
steps:
  n: {needs: [a], queue: q}
  a: {queue: q}
  d: {needs: [a], queue: fast}
  pick: {needs: [a], queue: q, locks: [{name: "stock"}], retry: {attempts: 3}}
  c: {needs: [pick, n], queue: q}
output: "${steps.pick.output}"
`
)

func migrateOf(id string, version int32, steps map[string]string) *logv1.Command {
	return &logv1.Command{Body: &logv1.Command_MigrateInstance{MigrateInstance: &v1.MigrateInstanceRequest{
		InstanceId: id, Version: version, Steps: steps, Reason: "the stock is picked",
	}}}
}

func (r *rig) migrates(c *logv1.Command) *v1.MigrateInstanceResponse {
	r.t.Helper()
	reply, refusal := r.do(c)
	if refusal != nil {
		r.t.Fatal(refusal)
	}
	return reply.(*v1.MigrateInstanceResponse)
}

var bIsPick = map[string]string{"b": "pick"}

// What is done stays done, what is leased is completed as before, under the name and the token that its worker knows, and the rest is as the
// version says.
func TestAMigrationCarriesWhatHasBegun(t *testing.T) {
	scenario(t, func(r *rig) {
		r.register(toMigrate)
		r.register(migrated)
		worker := r.session(3600 * second)
		if _, refusal := r.do(&logv1.Command{Body: &logv1.Command_StartInstance{StartInstance: &v1.StartInstanceRequest{
			InstanceId: "i", Workflow: "w", Version: 1}}}); refusal != nil {
			t.Fatal(refusal)
		}
		r.puts(worker, `a "done"`)
		b := r.lease(worker, "i", "b")
		r.midway()
		r.runs("i", "RUNNING a/0=COMPLETED b/0=LEASED c/0=PENDING d/0=READY e/0=PENDING")
		dry := migrateOf("i", 2, bIsPick)
		dry.GetMigrateInstance().DryRun = true
		position := r.m.namespaces[DefaultNamespace].rec.Position
		if got := r.migrates(dry); got.Kept != 3 || got.Added != 2 || got.Gone != 1 || fmt.Sprint(len(got.Steps)) != "6" ||
			got.Steps[5].From != "e" || got.Steps[3].From != "b" || got.Steps[3].To != "pick" || got.Steps[3].State != v1.RunState_RUN_STATE_LEASED {
			t.Fatalf("a dry run says %v", got)
		}
		if now := r.m.namespaces[DefaultNamespace].rec.Position; now != position {
			t.Fatal("a dry run did something")
		}
		got := r.tell(migrateOf("i", 2, bIsPick))
		r.did(got, "instance.migrated", "step.ready n")
		if d := got.Events()[0].Data; d.Version != 2 || d.FromVersion != 1 || fmt.Sprint(d.Renamed) != "map[b:pick]" || d.Reason != "the stock is picked" || d.Count != 3 {
			t.Errorf("it is told as %v", d)
		}
		r.midway()
		r.runs("i", "RUNNING n/0=READY a/0=COMPLETED d/0=READY pick/0=LEASED c/0=PENDING")
		r.locked("stock", fmt.Sprintf("i/pick %d", b.Token))
		if again := r.migrates(migrateOf("i", 2, bIsPick)); !again.Existing || again.FromVersion != 1 {
			t.Errorf("the same again is answered %v", again)
		}
		broke := failOf(b, "BROKE")
		broke.GetFailStep().Retryable = true
		if _, refusal := r.do(broke); refusal != nil {
			t.Fatal(refusal)
		}
		r.tick(60 * second)
		r.midway()
		again := r.lease(worker, "i", "pick")
		if again.IdempotencyKey != b.IdempotencyKey || again.Token <= b.Token || again.Attempt != 2 {
			t.Fatalf("leased again is %v; was %v", again, b)
		}
		if _, refusal := r.complete(b, `"late"`); refusal.GetCode() != v1.Code_CODE_FENCED {
			t.Fatalf("the first lease completes: %v", refusal)
		}
		r.done(again, `"picked"`)
		r.done(again, `"picked"`)
		r.leases(worker, "n/0")
		if runs := r.poll(worker, "fast", 9); len(runs) != 1 || runs[0].Step != "d" {
			t.Fatalf("in the other queue are %v", runs)
		}
		v, _ := r.m.namespaces[DefaultNamespace].version("w", 2)
		if old, _ := r.m.namespaces[DefaultNamespace].version("w", 1); old.use.Live != 0 || v.use.Live != 1 {
			t.Errorf("%d and %d live", old.use.Live, v.use.Live)
		}
		r.midway()
	})
}

// A worker that holds a lease completes it under the name that it knows, and so does one that asks again; the instance ends.
func TestALeaseIsCompletedAcrossAMigration(t *testing.T) {
	scenario(t, func(r *rig) {
		r.register("workflow: w\nsteps:\n  a: {queue: q}\n  b: {needs: [a], queue: q}\n")
		r.register("workflow: w\nsteps:\n  b: {queue: q}\n  a: {needs: [b], queue: q}\n")
		r.register("workflow: w\nsteps:\n  b: {queue: q}\n  c: {needs: [b], queue: q}\n")
		r.register("workflow: w\nsteps:\n  x: {queue: q}\n  b: {needs: [x], queue: q}\n")
		worker := r.session(3600 * second)
		if _, refusal := r.do(&logv1.Command{Body: &logv1.Command_StartInstance{StartInstance: &v1.StartInstanceRequest{
			InstanceId: "i", Workflow: "w", Version: 1}}}); refusal != nil {
			t.Fatal(refusal)
		}
		a := r.lease(worker, "i", "a")
		r.midway()
		// Their names are swapped: the one that begins then would have the idempotency key of the one that has begun.
		r.refuses(v1.Code_CODE_MIGRATE_MISMATCH, migrateOf("i", 2, map[string]string{"a": "b", "b": "a"}), `the idempotency key of step "a"`)
		r.migrates(migrateOf("i", 3, map[string]string{"a": "b", "b": "c"}))
		r.midway()
		r.runs("i", "RUNNING b/0=LEASED c/0=PENDING")
		// So would a third one, of the name that the first had in between.
		r.refuses(v1.Code_CODE_MIGRATE_MISMATCH, migrateOf("i", 4, map[string]string{"b": "x", "c": "b"}), `the idempotency key of step "a"`)
		r.done(a, `1`)
		r.done(a, `1`) // the answer was lost
		r.midway()
		second := r.lease(worker, "i", "c")
		if second.IdempotencyKey == a.IdempotencyKey {
			t.Errorf("two steps have the idempotency key %s", second.IdempotencyKey)
		}
		r.done(second, `2`)
		r.is("i", "COMPLETED b=COMPLETED c=COMPLETED")
	})
}

// What cannot go on is refused whole, and says which step.
func TestAMigrationIsRefused(t *testing.T) {
	scenario(t, func(r *rig) {
		r.register(toMigrate)                                                                                                                                                   // 1
		r.register(migrated)                                                                                                                                                    // 2
		r.register("workflow: w\nsteps:\n  a: {signal: {name: s}}\n  b: {needs: [a]}\n")                                                                                        // 3
		r.register("workflow: w\nsteps:\n  x: {queue: q}\n  a: {needs: [x], queue: q}\n  b: {needs: [a], queue: q, locks: [{name: \"stock\"}]}\n  d: {needs: [a], queue: q}\n") // 4
		r.register("workflow: w\nsteps:\n  a: {queue: q}\n  b: {needs: [a], queue: q}\n  d: {needs: [a], queue: q}\n")                                                          // 5
		worker := r.session(3600 * second)
		if _, refusal := r.do(&logv1.Command{Body: &logv1.Command_StartInstance{StartInstance: &v1.StartInstanceRequest{
			InstanceId: "i", Workflow: "w", Version: 1}}}); refusal != nil {
			t.Fatal(refusal)
		}
		r.puts(worker, `a 1`)
		r.lease(worker, "i", "b")
		r.midway()
		r.refuses(v1.Code_CODE_MIGRATE_NO_STEP, migrateOf("i", 2, nil), `step "b" of instance "i" is LEASED, and version 2 has no step "b"`)
		r.refuses(v1.Code_CODE_MIGRATE_MISMATCH, migrateOf("i", 3, nil), `step "a" of instance "i" is COMPLETED`)
		r.refuses(v1.Code_CODE_MIGRATE_MISMATCH, migrateOf("i", 2, map[string]string{"b": "d"}), `would both go on as step "d"`)
		r.refuses(v1.Code_CODE_MIGRATE_ORDER, migrateOf("i", 4, nil), `needs step x, which is PENDING`)
		r.refuses(v1.Code_CODE_MIGRATE_UNSUPPORTED, migrateOf("i", 5, nil), `wants other locks`)
		r.refuses(v1.Code_CODE_WORKFLOW_NOT_FOUND, migrateOf("i", 9, nil), "no version 9")
		r.refuses(v1.Code_CODE_STEP_NOT_FOUND, migrateOf("i", 2, map[string]string{"z": "d"}), `no step "z"`)
		r.refuses(v1.Code_CODE_STEP_NOT_FOUND, migrateOf("i", 2, map[string]string{"b": "z"}), `no step "z"`)
		r.refuses(v1.Code_CODE_INSTANCE_NOT_FOUND, migrateOf("j", 2, nil), `"j"`)
		r.tell(&logv1.Command{Body: &logv1.Command_DrainVersion{DrainVersion: &v1.DrainVersionRequest{Workflow: "w", Version: 2, Reason: "r"}}})
		r.refuses(v1.Code_CODE_MIGRATE_DRAINED, migrateOf("i", 2, bIsPick), "undrain")
		r.tell(resetOf("i", "d", 0))
		r.refuses(v1.Code_CODE_MIGRATE_UNSUPPORTED, migrateOf("i", 5, nil), `step "d" of instance "i" was set back`)
	})
}

// What is inside a step is in the way when it has begun, and not when the definition merely has it.
func TestAMigrationOfBodies(t *testing.T) {
	scenario(t, func(r *rig) {
		r.register("workflow: w\nsteps:\n  a: {queue: q}\n  each: {needs: [a], forEach: {in: [1, 2], width: 2, steps: {b: {queue: q}}}}\n")
		r.register("workflow: w\nsteps:\n  a: {queue: q}\n  n: {needs: [a], queue: q}\n  each: {needs: [n], forEach: {in: [1, 2], width: 2, steps: {b: {queue: q}}}}\n")
		worker := r.session(3600 * second)
		for _, id := range []string{"i", "j"} {
			if _, refusal := r.do(&logv1.Command{Body: &logv1.Command_StartInstance{StartInstance: &v1.StartInstanceRequest{
				InstanceId: id, Workflow: "w", Version: 1}}}); refusal != nil {
				t.Fatal(refusal)
			}
		}
		r.done(r.lease(worker, "j", "a"), "1")
		r.midway()
		r.refuses(v1.Code_CODE_MIGRATE_UNSUPPORTED, migrateOf("j", 2, nil), `step "each"`)
		r.migrates(migrateOf("i", 2, nil))
		r.midway()
		r.done(r.lease(worker, "i", "a"), "1")
		r.done(r.lease(worker, "i", "n"), "1")
		r.runs("i", "RUNNING a/0=COMPLETED n/0=COMPLETED each/0=WAITING b/0=READY b/1=READY")
	})
}

// An instance that has all that the version asks for ends with the migration, and who waits for a step that is there no more is told.
func TestAMigrationEndsWhatIsDone(t *testing.T) {
	scenario(t, func(r *rig) {
		r.register("workflow: w\nsteps:\n  a: {queue: q}\n  b: {needs: [a], signal: {name: s}}\n  c: {needs: [b], queue: q}\n")
		r.register("workflow: w\nsteps:\n  a: {queue: q}\n  b: {needs: [a], signal: {name: s}}\n")
		r.register("workflow: v\nsteps:\n  w: {await: {instance: i, step: c}}\n")
		worker := r.session(3600 * second)
		if _, refusal := r.do(&logv1.Command{Body: &logv1.Command_StartInstance{StartInstance: &v1.StartInstanceRequest{
			InstanceId: "i", Workflow: "w", Version: 1}}}); refusal != nil {
			t.Fatal(refusal)
		}
		r.start("v", "waits", "")
		r.puts(worker, `a 1`)
		r.midway()
		r.migrates(migrateOf("i", 2, nil))
		r.apply(&logv1.Entry{})
		r.midway()
		r.is("waits", "FAILED(STEP_NOT_FOUND) w=FAILED")
		r.tell(signalOf("i", "s"))
		r.is("i", "COMPLETED a=COMPLETED b=COMPLETED")
		r.refuses(v1.Code_CODE_ALREADY_ENDED, migrateOf("i", 1, nil), "fork")
	})
}

// Below its level nobody knows of migrations.
func TestMigrationsHaveALevel(t *testing.T) {
	if got := LevelOf(migrateOf("i", 2, nil)); got != migrateLevel {
		t.Errorf("a migration has level %d", got)
	}
}

// Who waits by a key keeps its place, in which those that wait are told.
func TestAMigrationOfAWaitByKey(t *testing.T) {
	scenario(t, func(r *rig) {
		r.register("workflow: w\nsteps:\n  wait: {await: {key: {order: \"7\"}}}\n  go: {needs: [wait], queue: q}\n")
		r.register("workflow: w\nsteps:\n  n: {queue: q}\n  wait: {await: {key: {order: \"7\"}}}\n  go: {needs: [wait, n], queue: q}\n")
		r.register("workflow: w\nsteps:\n  wait: {await: {key: {order: \"7\"}}}\n  n: {queue: q}\n  go: {needs: [wait, n], queue: q}\n")
		if _, refusal := r.do(&logv1.Command{Body: &logv1.Command_StartInstance{StartInstance: &v1.StartInstanceRequest{
			InstanceId: "i", Workflow: "w", Version: 1}}}); refusal != nil {
			t.Fatal(refusal)
		}
		r.midway()
		r.refuses(v1.Code_CODE_MIGRATE_UNSUPPORTED, migrateOf("i", 2, nil), `waits by a key`)
		r.migrates(migrateOf("i", 3, nil))
		r.midway()
		r.runs("i", "RUNNING wait/0=WAITING n/0=READY go/0=PENDING")
	})
}
