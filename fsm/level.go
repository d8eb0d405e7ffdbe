package fsm

import (
	"fmt"

	"google.golang.org/protobuf/proto"

	"github.com/lockstep-dev/lockstep/fsm/graph"
	logv1 "github.com/lockstep-dev/lockstep/proto/gen/lockstep/log/v1"
	v1 "github.com/lockstep-dev/lockstep/proto/gen/lockstep/v1"
)

// Level is the newest cluster level that this code knows, and that of a new cluster. An entry above it panics. What came with each:
//
//	29  a leader says how large slices are (retention.go)
//	28  reporters that are asked (reporter.go)
//	26  observations, and plans about them (observe.go, reconcile.go); the tenth edition of the language: what to do about drift
//	25  bulk operations (bulk.go)
//	24  instances are set back to a step (reset.go); failures are resolved by a word (incident.go); forks begin nothing that is barred
//	    (fork.go); a key that a caller is given closes a cycle with what it called (stepkeys.go)
//	23  since when what stands still does, in the order of that (incidentread.go)
//	21  instances and events are removed that are over their time (retention.go)
//	20  an index of instances (searchrow.go)
//	19  what an operator does to an instance and its runs (pause.go, operate.go)
//	18  the ninth edition: waits by key, and keys that steps give (awaitkey.go, stepkeys.go); who had a key is remembered
//	17  instances are forked (fork.go)
//	16  the eighth edition: rate limits (limit.go)
//	15  the seventh edition: keys of fairness (fairness.go)
//	14  the sixth edition: barriers (barrier.go)
//	13  starts say what becomes of them when their id is taken (line.go); versions are counted and drained (drain.go)
//	12  the fifth edition: locks that are held for longer than a step, and waits for locks that end (hold.go)
//	11  what an entry does by itself inside instances is bounded (work.go)
//	10  correlation keys in an index, and signals by key (key.go)
//	 9  schedules (schedule.go)
//	 8  payloads have numbers (spill.go); runs forget where they stood (rest.go)
//	 7  the fourth edition: calls, and waits for other instances (call.go, depend.go)
//	 6  the third edition: needs that count failures
//	 5  the second edition: timers, races, approvals, a total timeout (timer.go, race.go, approval.go)
//	 4  compensations (compensate.go)
//	 3  slices of the state are in the digest, of rows in the present format (slice.go); those of level 2 were of the first
//
// Which tables are in the slices from which level on is in slice.go.
const Level = SizedLevel

// waitsLevel is the cluster level from which on there are timers, races, approvals and total timeouts of instances.
const waitsLevel = 5

// endsLevel is the cluster level from which on a failure can be what a step needs.
const endsLevel = 6

// callsLevel is the cluster level from which on instances call others, and wait for them.
const callsLevel = 7

// barrierLevel is the cluster level from which on there are barriers.
const barrierLevel = 14

// scheduleLevel is the cluster level from which on there are schedules, and their rows are in slices of the state.
const scheduleLevel = 9

// LevelOf is the cluster level from which on a command may be in the log; zero is any. Below it a member of the cluster may
// run a version that does not know the command, and would stop at it, or know less of what it brings.
func LevelOf(c *logv1.Command) uint32 {
	switch body := c.Body.(type) {
	case *logv1.Command_CompensateInstance:
		return compensationLevel
	case *logv1.Command_ApproveStep, *logv1.Command_RejectStep:
		return waitsLevel
	case *logv1.Command_CreateSchedule, *logv1.Command_PauseSchedule, *logv1.Command_ResumeSchedule, *logv1.Command_DeleteSchedule,
		*logv1.Command_TriggerSchedule, *logv1.Command_FireSchedule:
		return scheduleLevel
	case *logv1.Command_DrainVersion, *logv1.Command_UndrainVersion:
		return useLevel
	case *logv1.Command_ForkInstance:
		return forkLevel
	case *logv1.Command_ResetInstance:
		return resetLevel
	case *logv1.Command_Retain:
		if body.Retain.Most > 0 {
			return SizedLevel
		}
		return retentionLevel
	case *logv1.Command_AckExport:
		return retentionLevel
	case *logv1.Command_CreateNamespace:
		if body.CreateNamespace.Retention != nil {
			return retentionLevel
		}
	case *logv1.Command_UpdateNamespace:
		if body.UpdateNamespace.Retention != nil {
			return retentionLevel
		}
	case *logv1.Command_PauseInstance, *logv1.Command_ResumeInstance, *logv1.Command_RetryStep, *logv1.Command_SkipStep,
		*logv1.Command_ResolveStep, *logv1.Command_UpdateStep:
		return operateLevel
	case *logv1.Command_StartBulk, *logv1.Command_CancelBulk:
		return bulkLevel
	case *logv1.Command_AdvanceBulk:
		if body.AdvanceBulk.Most > 0 {
			return SizedLevel
		}
		return bulkLevel
	case *logv1.Command_ResolveIncident, *logv1.Command_ReopenIncident:
		return resolutionLevel
	case *logv1.Command_ReportObservation, *logv1.Command_ApplyPlan:
		return reconcileLevel
	case *logv1.Command_RegisterReporter, *logv1.Command_RemoveReporter, *logv1.Command_RecordAsk:
		return sweepLevel
	case *logv1.Command_StartInstance:
		if body.StartInstance.OnConflict != 0 || body.StartInstance.StartId != "" {
			return lineLevel
		}
	case *logv1.Command_SendSignal:
		if byKey(body.SendSignal) {
			return keysLevel
		}
	case *logv1.Command_RegisterWorkflow:
		if g, err := graph.Compile(body.RegisterWorkflow.Graph); err == nil {
			return definitionLevel(g)
		}
	}
	return 0
}

// definitionLevel is the cluster level from which on a definition is taken; zero is any. Below it all refuse it as a version
// does that cannot compile it.
func definitionLevel(g *graph.Graph) uint32 {
	var level uint32
	if g.Compensable() {
		level = compensationLevel
	}
	if g.Edition > 1 {
		level = max(level, [...]uint32{waitsLevel, endsLevel, callsLevel, holdsLevel, barrierLevel, fairLevel, limitLevel, awaitsLevel, reconcileLevel}[g.Edition-2])
	}
	return level
}

// level is the cluster's. The first entry of the log says which it is, whatever version applies it; before that, what this version
// would propose.
func (m *Machine) level() uint32 {
	if m.group.Level == 0 {
		return m.begins
	}
	return m.group.Level
}

// raiseLevel moves the cluster to a level. A leader proposes it when every member has said that it knows the level; one that does not
// stops here, as at any command that it does not know.
func (t *turn) raiseLevel(r *logv1.RaiseLevel) (proto.Message, *Refusal) {
	if r.Level > Level {
		panic(fmt.Sprintf("fsm: entry %d raises the cluster to level %d, this binary knows %d", t.index, r.Level, Level))
	}
	if r.Level > t.m.group.Level {
		t.emit(&levelRaised{r.Level})
	}
	return &logv1.LevelRaised{Level: t.m.group.Level}, nil
}

type levelRaised struct{ level uint32 }

func (e *levelRaised) kind() string { return "lockstep.cluster.raised.v1" }
func (e *levelRaised) fill(d *v1.EventData) string {
	d.Version = int32(e.level)
	return "cluster"
}
func (e *levelRaised) evolve(t *turn) {
	was := t.m.group.Level
	t.m.group.Level = e.level
	for _, name := range t.m.names {
		ns := t.m.namespaces[name]
		if was < keysLevel && t.m.keyed() {
			t.m.indexLive(ns)
		}
		if was < useLevel && e.level >= useLevel {
			t.m.countLive(ns)
		}
		if was < searchLevel && e.level >= searchLevel {
			t.m.beginIndex(ns)
		}
		if was < awaitsLevel && t.m.remembers() {
			t.m.rememberLive(ns)
		}
		if was < retentionLevel && e.level >= retentionLevel {
			t.m.unorder(ns)
		}
	}
}
