package api

import (
	"testing"

	"google.golang.org/protobuf/proto"

	"github.com/lockstep-dev/lockstep/fsm/graph/sound"
	v1 "github.com/lockstep-dev/lockstep/proto/gen/lockstep/v1"
)

// Each finding has a code on the wire, and each code there is a finding.
func TestFindingsHaveCodes(t *testing.T) {
	all := []sound.Code{
		sound.StepNeverRuns, sound.StepStandsStill, sound.OutputNeverThere, sound.NeedNeverMet,
		sound.StepMayStandStill, sound.OutputMayBeMissing, sound.WaitMayBeLeft, sound.ConditionMayFail,
	}
	if len(all) != len(v1.FindingCode_name)-1 {
		t.Errorf("there are %d codes on the wire, and %d findings", len(v1.FindingCode_name)-1, len(all))
	}
	r := &sound.Report{Verdict: sound.NotChecked, States: 7, Step: "late", Path: "steps.late"}
	for _, code := range all {
		r.Findings = append(r.Findings, sound.Finding{Code: code, Step: "s", Path: "steps.s", Sentence: "so", Witness: []string{"a", "b"}})
	}
	got := Soundness(r, func(path string) int { return len(path) })
	if got.Verdict != v1.SoundnessVerdict_SOUNDNESS_VERDICT_NOT_CHECKED || got.States != 7 || got.Step != "late" || got.Line != 10 {
		t.Errorf("told is %v", got)
	}
	for n, f := range got.Findings {
		want := &v1.Finding{Code: v1.FindingCode(n + 1), Always: n < 4, Step: "s", Sentence: "so", Witness: []string{"a", "b"}, Line: 7}
		if !proto.Equal(f, want) {
			t.Errorf("%s is told as %v", all[n], f)
		}
	}
}
