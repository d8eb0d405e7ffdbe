package main

import (
	"bytes"
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"syscall"
	"time"
	"unicode/utf8"

	"github.com/lockstep-dev/lockstep/client"
	v1 "github.com/lockstep-dev/lockstep/proto/gen/lockstep/v1"
)

// The exec contract: how a command does a run. Its input is on stdin, its output on stdout, its log on stderr.
const (
	exitNoRetry = 65 // the run fails, and is not tried again
	exitRelease = 75 // the run goes back, and no attempt is used
	// execGrace is what a command gets between SIGTERM and SIGKILL when its lease is lost.
	execGrace = 5 * time.Second
	// maxOutput is the limit of an output, in bytes; maxExecLog is how much of the log becomes a failure's reason.
	maxOutput  = 256 << 10
	maxExecLog = 4 << 10
)

// executor runs a command for each run that it is given.
type executor struct {
	command []string
	log     io.Writer     // what commands write to stderr goes here too
	grace   time.Duration // zero means execGrace
	// settings go into the environment, so that a script's own `lockstep step progress` asks the same cluster.
	settings []string
}

// do runs the command for a step. It is a client.Handler: when the step's context ends the command is made to end too,
// and what it would have said counts for nothing.
func (x *executor) do(ctx context.Context, s *client.Step) (any, error) {
	input, err := s.InputBytes()
	if err != nil {
		return nil, client.Fail("INPUT", err.Error())
	}
	grace := x.grace
	if grace == 0 {
		grace = execGrace
	}
	stdout, log := &bounded{limit: maxOutput}, &tail{limit: maxExecLog}
	cmd := exec.CommandContext(ctx, x.command[0], x.command[1:]...)
	cmd.Stdin, cmd.Stdout, cmd.Stderr = bytes.NewReader(inputOf(input)), stdout, io.MultiWriter(log, x.log)
	cmd.Env = append(append(withoutStep(os.Environ()), x.settings...), stepEnvironment(s)...)
	err = runGroup(ctx, cmd, grace)
	if ctx.Err() != nil {
		return nil, fmt.Errorf("the command was stopped: %w", context.Cause(ctx))
	}
	return judge(err, stdout, log.String())
}

// judge reads a command's end by the contract.
func judge(err error, stdout *bounded, log string) (any, error) {
	var exit *exec.ExitError
	switch {
	case err == nil && stdout.over:
		return nil, client.Fail("OUTPUT_TOO_LARGE", fmt.Sprintf("the output is over %d bytes; keep it elsewhere and print where", maxOutput))
	case err == nil:
		return outputOf(stdout.kept), nil
	case !errors.As(err, &exit):
		return nil, client.Retry("EXEC", err.Error())
	}
	if status, ok := exit.Sys().(syscall.WaitStatus); ok && status.Signaled() {
		return nil, client.Retry(fmt.Sprintf("SIGNAL_%d", status.Signal()), cmp.Or(log, status.Signal().String()))
	}
	code := exit.ExitCode()
	reason := cmp.Or(log, fmt.Sprintf("exit status %d", code))
	switch code {
	case exitNoRetry:
		return nil, client.Fail("EXIT_65", reason)
	case exitRelease:
		return nil, client.Release()
	}
	return nil, client.Retry(fmt.Sprintf("EXIT_%d", code), reason)
}

// runGroup runs the command as the leader of a process group, to its end. When ctx ends first, the group gets SIGTERM,
// what is left of it after the grace SIGKILL, and nothing of it is left behind.
func runGroup(ctx context.Context, cmd *exec.Cmd, grace time.Duration) error {
	var kill *time.Timer
	// A group of its own could not read the terminal: there the command stays in ours, and gets its signals alone.
	own := cmd.Stdin == nil || !terminal(cmd.Stdin)
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: own}
	cmd.Cancel = func() error {
		pgid := -cmd.Process.Pid
		if !own {
			pgid = cmd.Process.Pid
		}
		kill = time.AfterFunc(grace, func() { _ = syscall.Kill(pgid, syscall.SIGKILL) }) // it may have gone in between
		return syscall.Kill(pgid, syscall.SIGTERM)
	}
	// A descendant that keeps a pipe open must not hold the worker for ever: Wait gives up on the pipes.
	cmd.WaitDelay = grace + time.Second
	if err := cmd.Start(); err != nil {
		return err
	}
	err := cmd.Wait()
	if errors.Is(err, exec.ErrWaitDelay) {
		err = nil // it ended well; what it left running in the background is its own business
	}
	if kill != nil {
		awaitGroup(cmd.Process.Pid, time.Now().Add(grace+time.Second))
		kill.Stop()
	}
	return err
}

// awaitGroup waits until the group is empty, if there is one. A group can only be asked after: its members are not our children.
func awaitGroup(pgid int, limit time.Time) {
	for syscall.Kill(-pgid, 0) == nil && time.Now().Before(limit) {
		time.Sleep(10 * time.Millisecond)
	}
}

// inputOf is a step's input as the command reads it.
func inputOf(input []byte) []byte {
	if len(input) == 0 {
		return []byte("null")
	}
	return compactJSON(input)
}

// compactJSON takes out the spaces that protobuf's JSON has by chance; what is not JSON stays as it is.
func compactJSON(b []byte) []byte {
	var out bytes.Buffer
	if json.Compact(&out, b) != nil {
		return b
	}
	return out.Bytes()
}

// outputOf makes a payload of what a command printed: JSON if it is, else text, else bytes. Nothing is no output.
func outputOf(b []byte) any {
	b = bytes.TrimSpace(b)
	switch {
	case len(b) == 0:
		return nil
	case json.Valid(b):
		return &v1.Payload{Bytes: compactJSON(b)}
	case utf8.Valid(b):
		text, err := json.Marshal(string(b))
		if err != nil {
			return &v1.Payload{ContentType: "text/plain; charset=utf-8", Bytes: b}
		}
		return &v1.Payload{Bytes: text}
	}
	return &v1.Payload{ContentType: "application/octet-stream", Bytes: b}
}

// stepNames are the variables of a step's environment, without LOCKSTEP_.
var stepNames = [...]string{"INSTANCE", "WORKFLOW", "VERSION", "STEP", "TASK", "INDEX", "ATTEMPT", "TOKEN", "SESSION", "DEADLINE", "IDEMPOTENCY_KEY", "TRACEPARENT", "COMPENSATES"}

// stepEnvironment tells a command which run it does. DEADLINE, RFC 3339, is when the run's own timeout ends it;
// COMPENSATES the step that it undoes, empty when it undoes none.
func stepEnvironment(s *client.Step) []string {
	deadline := ""
	if !s.Deadline.IsZero() {
		deadline = s.Deadline.UTC().Format(time.RFC3339Nano)
	}
	values := [...]string{
		s.InstanceID, s.Workflow, strconv.Itoa(int(s.Version)), s.Step, s.Task, strconv.Itoa(int(s.Index)),
		strconv.Itoa(int(s.Attempt)), strconv.FormatInt(s.Token, 10), s.SessionID, deadline, s.IdempotencyKey, s.Traceparent, s.Compensates,
	}
	env := []string{"LOCKSTEP_NAMESPACE=" + s.Namespace}
	for i, name := range stepNames {
		env = append(env, "LOCKSTEP_"+name+"="+values[i])
	}
	return env
}

// withoutStep drops what an outer worker set: a worker may itself be a step.
func withoutStep(env []string) []string {
	var out []string
	for _, kv := range env {
		name, _, _ := strings.Cut(strings.TrimPrefix(kv, "LOCKSTEP_"), "=")
		outer := false
		for _, own := range stepNames {
			outer = outer || strings.HasPrefix(kv, "LOCKSTEP_") && name == own
		}
		if !outer {
			out = append(out, kv)
		}
	}
	return out
}

// bounded keeps the first bytes of a stream, and says when there were more. It must not embed a Buffer: that one's
// ReadFrom would be preferred to Write, and knows no limit.
type bounded struct {
	kept  []byte
	limit int
	over  bool
}

func (b *bounded) Write(p []byte) (int, error) {
	room := min(len(p), b.limit-len(b.kept))
	b.kept = append(b.kept, p[:room]...)
	b.over = b.over || room < len(p)
	return len(p), nil
}

// tail keeps the last bytes of a stream.
type tail struct {
	kept  []byte
	limit int
}

func (t *tail) Write(p []byte) (int, error) {
	t.kept = append(t.kept, p...)
	if over := len(t.kept) - t.limit; over > 0 {
		t.kept = append(t.kept[:0], t.kept[over:]...)
	}
	return len(p), nil
}

// String is the text of it, whole characters only.
func (t *tail) String() string {
	return strings.TrimSpace(strings.ToValidUTF8(string(t.kept), "�"))
}
