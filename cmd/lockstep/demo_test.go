package main

import (
	"bytes"
	"encoding/json"
	"path/filepath"
	"testing"

	"github.com/lockstep-dev/lockstep/cmd/lockstep/demo"
)

// The whole path, on processes: every field of the demo's object is what it must be. With a recorded pipeline where
// there is one.
func TestDemo(t *testing.T) {
	t.Parallel()
	args := []string{"demo", "--json"}
	if found, _ := filepath.Glob("../../../shared/data/wfcommons/helloworld-forkjoin*.json"); len(found) > 0 {
		args = append(args, "--wfcommons", found[0])
	} else {
		t.Log("../shared is absent: without a recorded pipeline")
	}
	var stdout, stderr bytes.Buffer
	code := run(t.Context(), args, &bytes.Buffer{}, &stdout, &stderr)
	var r demo.Result
	if err := json.Unmarshal(stdout.Bytes(), &r); err != nil {
		t.Fatalf("status %d, %v:\n%s%s", code, err, &stdout, &stderr)
	}
	if code != 0 || !r.OK || r.FencedWrites < 1 || r.LeaderKills != 2 || !r.LeaderKilledUndoing || r.Compensated != 1 || r.AcceptedCompletions < 80 {
		t.Fatalf("status %d: %+v\n%s", code, r, &stderr)
	}
}
