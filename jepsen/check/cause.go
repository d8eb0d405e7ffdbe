package check

import (
	"fmt"
	"slices"
)

// caused names the event that an accepted operation must have left.
func (op *Op) caused() (key string, ok bool) {
	switch op.Kind {
	case "start", "trigger":
		return "instance.started " + op.Instance, op.Instance != ""
	case "schedule", "pause", "resume", "unschedule":
		return "schedule " + op.Kind + " " + op.Schedule, true
	case "message":
		return "signal told " + op.Keys[0] + " " + op.Signal, true
	case "signal":
		return "signal.received " + op.Instance + " " + op.Signal, true
	case "cancel":
		return "instance stops: " + op.Instance, true
	case "approve":
		return "step.approved " + op.Instance + " " + op.Step, true
	case "reject":
		return "step.rejected " + op.Instance + " " + op.Step, true
	case "lease":
		return fmt.Sprint("step.leased ", op.Token), true
	case "complete":
		return fmt.Sprint("step.completed ", op.Token), true
	case "halt", "unhalt", "retry", "skip", "resolve", "update":
		return "by hand: " + op.Reason, op.Reason != ""
	case "bulk":
		return "bulk.started " + op.Reason, true
	case "apply":
		return "plan.applied " + op.Plan, true
	case "acquire":
		return fmt.Sprint("lock.granted ", op.Token), true
	case "unlock":
		return fmt.Sprint("lock.released ", op.Token), true
	}
	return "", false
}

func (e *Event) key() string {
	if e.byHand() {
		return "by hand: " + e.Reason
	}
	switch e.Type {
	case "bulk.started":
		return e.Type + " " + e.Bulk
	case "plan.applied":
		return "plan.applied " + e.Plan
	case "instance.started", "instance.queued": // what waits was started by who is told that
		return "instance.started " + e.Instance
	case "schedule.created", "schedule.paused", "schedule.resumed", "schedule.deleted":
		return "schedule " + onSchedule[e.Type] + " " + e.Name
	case "signal.kept", "signal.correlated", "signal.broadcast":
		return "signal told " + e.Key + " " + e.Signal
	case "signal.received":
		return e.Type + " " + e.Instance + " " + e.Signal
	case "step.approved", "step.rejected":
		return e.Type + " " + e.Instance + " " + e.Step
	case "instance.cancelling", "instance.compensating": // who cancels what is undone already is told yes
		return "instance stops: " + e.Instance
	}
	return fmt.Sprint(e.Type, " ", e.Token)
}

// onSchedule are the kinds of operations that leave such events.
var onSchedule = map[string]string{"schedule.created": "schedule", "schedule.paused": "pause", "schedule.resumed": "resume", "schedule.deleted": "unschedule"}

// positions are where the feed tells of something first.
func positions(events []Event) map[string]int64 {
	at := map[string]int64{}
	for i := range events {
		if key := events[i].key(); at[key] == 0 {
			at[key] = events[i].Position
		}
	}
	return at
}

// again are the kinds of which the same once more is told yes for what happened before.
var again = []string{"start", "message", "schedule", "pause", "resume", "unschedule", "trigger", "signal", "cancel", "approve", "reject", "unlock", "bulk", "apply"}

func (op *Op) retold() bool { return slices.Contains(again, op.Kind) }
