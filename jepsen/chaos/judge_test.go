package main

import (
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/lockstep-dev/lockstep/jepsen/check"
	"github.com/lockstep-dev/lockstep/jepsen/workload"
)

var (
	aWorkflow = regexp.MustCompile(`(?m)^workflow: (\w+)$`)
	aStep     = regexp.MustCompile(`(?m)^  (\w+): \{(.*)\}$`)
	itsNeeds  = regexp.MustCompile(`needs: \[([^\]]*)\]`)
	itsSignal = regexp.MustCompile(`signal: \{name: (\w+)\}`)
)

// What is judged by is what the definitions say.
func TestTheJudgeKnowsTheDefinitions(t *testing.T) {
	needs, seen := (&world{}).needs(), 0
	for _, definition := range workload.Definitions {
		flow := aWorkflow.FindStringSubmatch(definition)[1]
		var undo []string
		for _, step := range aStep.FindAllStringSubmatch(definition, -1) {
			name, says := flow+"/"+step[1], step[2]
			var wants []string
			if list := itsNeeds.FindStringSubmatch(says); list != nil {
				wants = strings.Split(list[1], ", ")
			}
			if got, there := needs[name]; !there || !slices.Equal(got, wants) {
				t.Errorf("%s needs %v, and is judged by %v", name, wants, got)
			}
			if signal := itsSignal.FindStringSubmatch(says); (signal != nil) != (waits[name] != "") || signal != nil && signal[1] != waits[name] {
				t.Errorf("%s is judged to wait for %q, and waits for %v", name, waits[name], signal)
			}
			if strings.Contains(says, "compensate: ") {
				undo = append(undo, step[1])
			}
			seen++
		}
		if saga := sagas[flow]; !slices.Equal(saga.Undo, undo) || saga.Sequential != strings.Contains(definition, "\ncompensation: sequential\n") {
			t.Errorf("%s undoes %v, and is judged by %+v", flow, undo, saga)
		}
	}
	if seen != len(needs) {
		t.Errorf("the definitions have %d steps, %d are judged", seen, len(needs))
	}
}

// A run in which nothing was undone, or no signal reached a step, shows nothing of it.
func TestARunWithoutSagasIsVoid(t *testing.T) {
	all := []check.Event{{Type: "instance.compensating", Instance: "saga-1"}, {Type: "instance.failed", Instance: "saga-2"}, {Type: "instance.failed", Instance: "saga-1"}, {Type: "signal.delivered"}}
	for _, x := range []struct {
		events           []check.Event
		instance, signal string
	}{{all, pass, pass}, {all[:2], failed, failed}, {all[:3], pass, failed}, {all[3:], failed, pass}} {
		r := newReport(&config{})
		r.undone(x.events)
		if r.Checks["an instance was undone"] != x.instance || r.Checks["a signal was applied"] != x.signal {
			t.Errorf("%v: %v", x.events, r.Checks)
		}
	}
}
