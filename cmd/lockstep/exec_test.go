package main

import (
	"bytes"
	"context"
	"errors"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/lockstep-dev/lockstep/client"
	v1 "github.com/lockstep-dev/lockstep/proto/gen/lockstep/v1"
)

func runScript(t *testing.T, ctx context.Context, script string) (any, error) {
	t.Helper()
	x := &executor{command: []string{"sh", "-c", script}, log: io.Discard, grace: 200 * time.Millisecond}
	return x.do(ctx, &client.Step{Namespace: "default", InstanceID: "i-1", Step: "s", Task: "t", Token: 42, Attempt: 2, IdempotencyKey: "k", Compensates: "u"})
}

// How a command ends is what its step comes to.
func TestExecContract(t *testing.T) {
	for _, c := range []struct {
		name, script string
		output       string // JSON
		code, reason string
		retryable    bool
	}{
		{name: "JSON", script: `echo '{"a": [1, 2]}'`, output: `{"a":[1,2]}`},
		{name: "text", script: `echo 'two words'`, output: `"two words"`},
		{name: "nothing", script: `true`},
		{name: "input", script: `cat`, output: `null`},
		{name: "environment", script: `echo "$LOCKSTEP_INSTANCE $LOCKSTEP_STEP $LOCKSTEP_TASK $LOCKSTEP_TOKEN $LOCKSTEP_ATTEMPT $LOCKSTEP_IDEMPOTENCY_KEY $LOCKSTEP_COMPENSATES"`, output: `"i-1 s t 42 2 k u"`},
		{name: "at the limit", script: `printf 1; head -c 262143 /dev/zero | tr '\0' 0`, output: "1" + strings.Repeat("0", maxOutput-1)},
		{name: "over the limit", script: `printf 1; head -c 262144 /dev/zero | tr '\0' 0`, code: "OUTPUT_TOO_LARGE", reason: "the output is over 262144 bytes; keep it elsewhere and print where"},
		{name: "no retry", script: `echo hopeless >&2; exit 65`, code: "EXIT_65", reason: "hopeless"},
		{name: "other", script: `exit 3`, code: "EXIT_3", reason: "exit status 3", retryable: true},
		{name: "log", script: `head -c 9000 /dev/zero | tr '\0' x >&2; exit 1`, code: "EXIT_1", reason: strings.Repeat("x", maxExecLog), retryable: true},
		{name: "signal", script: `kill -9 $$`, code: "SIGNAL_9", reason: "killed", retryable: true},
	} {
		t.Run(c.name, func(t *testing.T) {
			output, err := runScript(t, t.Context(), c.script)
			var step *client.StepError
			if errors.As(err, &step) {
				if step.Code != c.code || step.Reason != c.reason || step.Retryable != c.retryable {
					t.Fatalf("got %+v", step)
				}
				return
			}
			payload, _ := output.(*v1.Payload)
			if err != nil || c.code != "" || string(payload.GetBytes()) != c.output {
				t.Fatalf("got %.60q, %v", payload.GetBytes(), err)
			}
		})
	}
}

// Status 75 gives the step back.
func TestExecRelease(t *testing.T) {
	if _, err := runScript(t, t.Context(), `exit 75`); !errors.Is(err, client.Release()) {
		t.Fatalf("got %v", err)
	}
}

// A command that is not there is a failure that another machine may not have.
func TestExecMissing(t *testing.T) {
	x := &executor{command: []string{filepath.Join(t.TempDir(), "none")}, log: io.Discard}
	_, err := x.do(t.Context(), &client.Step{})
	var step *client.StepError
	if !errors.As(err, &step) || step.Code != "EXEC" || !step.Retryable {
		t.Fatalf("got %v", err)
	}
}

// When the lease is lost the whole group ends, also what heeds no SIGTERM, and nothing is reported.
func TestExecLeaseLost(t *testing.T) {
	ready := filepath.Join(t.TempDir(), "ready")
	if err := syscall.Mkfifo(ready, 0o600); err != nil {
		t.Fatal(err)
	}
	lost := errors.New("lost")
	ctx, cancel := context.WithCancelCause(t.Context())
	// Ends when the script has opened its end.
	said := make(chan string, 1)
	go func() {
		b, _ := os.ReadFile(ready) // an empty answer fails below
		cancel(lost)
		said <- string(b)
	}()
	_, err := runScript(t, ctx, `trap '' TERM; sh -c 'trap "" TERM; echo $$ >`+ready+`; while :; do sleep 60; done'`)
	if !errors.Is(err, lost) {
		t.Fatalf("got %v", err)
	}
	pid, err := strconv.Atoi(strings.TrimSpace(<-said))
	if err != nil {
		t.Fatal(err)
	}
	if state := stateOf(pid); state != "" && state != "Z" {
		t.Fatalf("process %d of the group is left behind, state %s", pid, state)
	}
}

// stateOf is a process's state letter; empty when it is gone.
func stateOf(pid int) string {
	b, err := os.ReadFile(filepath.Join("/proc", strconv.Itoa(pid), "stat"))
	if err != nil {
		return ""
	}
	_, rest, _ := bytes.Cut(b, []byte(") "))
	return string(rest[:1])
}

// A worker inside a step does not hand its own step's identity on.
func TestWithoutStep(t *testing.T) {
	got := withoutStep([]string{"PATH=/bin", "LOCKSTEP_TOKEN=7", "LOCKSTEP_SERVER=a", "LOCKSTEP_STEP=s", "TOKEN=8", "LOCKSTEP_TOKENS=9"})
	if want := "PATH=/bin LOCKSTEP_SERVER=a TOKEN=8 LOCKSTEP_TOKENS=9"; strings.Join(got, " ") != want {
		t.Fatalf("got %q", got)
	}
}

// runGroup gives the status of a command that ends by itself.
func TestRunGroupStatus(t *testing.T) {
	err := runGroup(t.Context(), exec.CommandContext(t.Context(), "sh", "-c", "exit 9"), time.Second)
	var exit *exec.ExitError
	if !errors.As(err, &exit) || exit.ExitCode() != 9 {
		t.Fatalf("got %v", err)
	}
}
