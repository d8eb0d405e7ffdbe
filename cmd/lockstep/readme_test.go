package main

import (
	"bytes"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"slices"
	"strings"
	"testing"

	"github.com/lockstep-dev/lockstep/jepsen/require"
)

// curlBlock is the fenced block of the README that works a step with curl.
func curlBlock(t *testing.T) string {
	t.Helper()
	text, err := os.ReadFile("../../README.md")
	if err != nil {
		t.Fatal(err)
	}
	for _, after := range strings.Split(string(text), "\n```sh\n")[1:] {
		if block, _, closed := strings.Cut(after, "\n```"); closed && strings.Contains(block, "curl") {
			return block
		}
	}
	t.Fatal("the README has no block with curl")
	return ""
}

// The README's lines do what they say, as they stand there, on whichever of three nodes they are pasted for.
func TestTheREADMEsLinesRunOnAnyNode(t *testing.T) {
	t.Parallel()
	bash := require.Program(t, "bash")
	require.Program(t, "curl")
	block := curlBlock(t)
	h := newHurt(t, 3)
	lead := h.leader()
	for _, n := range h.Nodes {
		cmd := exec.CommandContext(t.Context(), bash, "-eu", "-o", "pipefail", "-c", block)
		cmd.Env = append(os.Environ(), "LOCKSTEP_API=http://"+n.API, "no_proxy=*")
		var stdout, stderr bytes.Buffer
		cmd.Stdout, cmd.Stderr = &stdout, &stderr
		if err := cmd.Run(); err != nil || stderr.Len() > 0 {
			t.Fatalf("node %d (node %d leads): %v\n%s%s", n.Number, lead, err, &stdout, &stderr)
		}
		checkReplies(t, stdout.Bytes())
	}
}

// reply is what the block's calls answer, of what is looked at.
type reply struct {
	Workflow      string
	State         string
	InstanceState string
	Explanations  []struct{ Code, Step string }
	Message       string
}

// checkReplies reads what the block prints: a line a call, but for those from whose reply it takes a field.
func checkReplies(t *testing.T, printed []byte) {
	t.Helper()
	var got []string
	for _, line := range bytes.Split(bytes.TrimSpace(printed), []byte("\n")) {
		var r reply
		if err := json.Unmarshal(line, &r); err != nil {
			t.Fatalf("%v: %s", err, line)
		}
		says, _, _ := strings.Cut(r.Message, ":")
		for _, e := range r.Explanations {
			says += strings.TrimSpace(strings.TrimPrefix(e.Code, "EXPLAIN_CODE_") + " " + e.Step)
		}
		got = append(got, strings.TrimSpace(fmt.Sprint(r.Workflow, " ", r.State, r.InstanceState, says)))
	}
	want := []string{
		"hello", "INSTANCE_STATE_RUNNING", "NO_POLLER greet", // registered, started, explained
		"INSTANCE_STATE_RUNNING",             // completed under the token of the lease by name
		"FENCED", "INSTANCE_STATE_COMPLETED", // under the token before, and under that of the poll
		"ENDED",
	}
	if !slices.Equal(got, want) {
		t.Errorf("the answers are %q, not %q:\n%s", got, want, printed)
	}
}
