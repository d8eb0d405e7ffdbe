package demo

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/signal"
	"path/filepath"
	"sync"
	"syscall"
	"time"

	"github.com/lockstep-dev/lockstep/client"
)

// WorkerConfig of a worker process of the demo.
type WorkerConfig struct {
	Servers, Queues []string
	// Ledger is its address; Files is where tasks of a recorded execution leave their outputs.
	Ledger, Files string
	// Stop, when set, names a file: the worker makes it and stops itself, once, after its last look at the clock and
	// before it writes. Hang has it take a step and never finish: it is there to be killed.
	Stop, Hang string
	// After, when set, names the file of another worker's Stop: holding the run that it names, this one waits, between
	// its write and its completion, until the other has written and completed as well.
	After string
	// Undoing names the file by which the one that undoes something of the order that fails says so.
	Undoing string
	TTL     time.Duration
	Name    string
	Slots   int // steps at a time
}

// task is what a step's input may say of a recorded execution.
type task struct {
	Wait    float64  `json:"waitSeconds"`
	Reads   []string `json:"reads"`
	Outputs []string `json:"outputs"`
}

// RunWorker works until the context ends.
func RunWorker(ctx context.Context, c WorkerConfig) error {
	lockstep, err := client.New(client.Config{Servers: c.Servers})
	if err != nil {
		return err
	}
	answers := &answers{c: &c}
	defer answers.told.Wait()
	w, err := lockstep.Worker(client.WorkerConfig{
		Queues: c.Queues, Concurrency: c.Slots, Grace: -1,
		Session: client.SessionConfig{TTL: c.TTL, Worker: c.Name},
		Handler: func(ctx context.Context, s *client.Step) (any, error) {
			output, err := c.do(ctx, s)
			if err == nil {
				answers.completing.Store(s.Token, true)
			}
			return output, err
		},
		Answered: answers.answered,
	})
	if err != nil {
		return err
	}
	if err := w.Run(ctx); ctx.Err() == nil {
		return err
	}
	return nil
}

// answers tells the ledger what completions are answered.
type answers struct {
	c          *WorkerConfig
	completing sync.Map // token of each completion -> true
	told       sync.WaitGroup
}

func (a *answers) answered(s *client.Step, err error) {
	if _, completed := a.completing.LoadAndDelete(s.Token); !completed {
		return // a failure, or a release
	}
	answer := accepted
	if err != nil {
		answer = refused
	}
	a.told.Go(func() {
		// What the ledger does not learn it cannot hold against the cluster: nothing is claimed of it.
		_ = a.c.tell(lineOf(s, answer))
		if held, err := os.ReadFile(a.c.Stop); err == nil && string(held) == runOf(s) {
			_ = os.WriteFile(a.c.Stop+answeredSuffix, nil, 0o600) // whoever waits for it waits a limited time
		}
	})
}

const answeredSuffix = ".answered"

func runOf(s *client.Step) string { return s.InstanceID + "/" + s.Step }

func lineOf(s *client.Step, answer string) Line {
	return Line{Lease: s.IdempotencyKey, Token: s.Token, Instance: s.InstanceID, Step: s.Step, Answer: answer}
}

func (c *WorkerConfig) do(ctx context.Context, s *client.Step) (any, error) {
	var t task
	if err := s.Input(&t); err != nil {
		return nil, client.Fail("INPUT", err.Error())
	}
	if err := refuses(s); err != nil {
		return nil, err
	}
	files := filepath.Join(c.Files, s.InstanceID)
	for _, name := range t.Reads {
		if _, err := os.Stat(filepath.Join(files, filepath.Base(name))); err != nil {
			return nil, client.Fail("OUTPUT_MISSING", fmt.Sprintf("%s of a parent is not there", name))
		}
	}
	if err := c.sleep(ctx, s, time.Duration(t.Wait*float64(time.Second))); err != nil {
		return nil, err
	}
	if ctx.Err() != nil { // the last look: the lease is ours, by our clock
		return nil, ctx.Err()
	}
	if err := c.holdUndo(ctx, s); err != nil {
		return nil, err
	}
	if err := stopOnce(c.Stop, s); err != nil {
		return nil, err
	}
	// It goes on whatever the context says by now, and whatever the ledger answers: a worker that was stopped knows no
	// better, and what refuses its completion must be the cluster.
	if err := c.tell(lineOf(s, "")); err != nil {
		return nil, err
	}
	if err := c.awaitOther(ctx, s); err != nil {
		return nil, err
	}
	if err := os.MkdirAll(files, 0o755); err != nil {
		return nil, err
	}
	for _, name := range t.Outputs {
		if err := os.WriteFile(filepath.Join(files, filepath.Base(name)), nil, 0o644); err != nil {
			return nil, err
		}
	}
	return map[string]any{"hold": "h", "receipt": "r", "tracking": "t", "score": 1, "account": "a", "plan": "p", "fixed": true, "files": []string{}}, nil
}

// sleep works for the time that a task takes, or for ever.
func (c *WorkerConfig) sleep(ctx context.Context, s *client.Step, d time.Duration) error {
	if d == 0 {
		d = 150 * time.Millisecond
	}
	if c.Hang != "" {
		if _, err := claimMarker(c.Hang, s); err != nil {
			return err
		}
		<-ctx.Done()
		return ctx.Err()
	}
	select {
	case <-time.After(d):
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// claimMarker makes a file that names the step, once: whole or not at all, and by one step only. It says whether it
// was this one.
func claimMarker(path string, s *client.Step) (first bool, err error) {
	aside := fmt.Sprintf("%s.%d", path, s.Token)
	if err := os.WriteFile(aside, []byte(runOf(s)), 0o600); err != nil {
		return false, err
	}
	err = os.Link(aside, path)
	if errors.Is(err, os.ErrExist) {
		return false, nil
	}
	return err == nil, err
}

// stopOnce stops this process, as a long pause of a garbage collector or of a virtual machine would.
func stopOnce(marker string, s *client.Step) error {
	if marker == "" {
		return nil
	}
	first, err := claimMarker(marker, s)
	if err != nil || !first {
		return err
	}
	// The signal may be taken by another thread, and this one run on for a while: it waits to be let go on.
	goOn := make(chan os.Signal, 1)
	signal.Notify(goOn, syscall.SIGCONT)
	defer signal.Stop(goOn)
	if err := syscall.Kill(os.Getpid(), syscall.SIGSTOP); err != nil {
		return err
	}
	<-goOn
	return nil
}

// awaitOther waits for the worker that was stopped with the same run, so that it completes while this one holds the lease.
func (c *WorkerConfig) awaitOther(ctx context.Context, s *client.Step) error {
	held, err := os.ReadFile(c.After)
	if err != nil || string(held) != runOf(s) {
		return nil // not that run, or none was stopped yet
	}
	waiting, cancel := context.WithTimeout(ctx, 5*time.Second)
	defer cancel()
	err = poll(waiting, "the other completes", func() (bool, error) {
		_, err := os.Stat(c.After + answeredSuffix)
		return err == nil, nil
	})
	if ctx.Err() == nil {
		return nil // in time or not: whether the other was late enough to show something, the ledger tells
	}
	return err
}

// tell writes a line into the ledger. That it refuses an effect is no error: the line is in it.
func (c *WorkerConfig) tell(line Line) error {
	b, err := json.Marshal(line)
	if err != nil {
		return err
	}
	res, err := http.Post("http://"+c.Ledger, "application/json", bytes.NewReader(b))
	if err != nil {
		return err
	}
	defer res.Body.Close()
	if res.StatusCode != http.StatusOK && res.StatusCode != http.StatusConflict {
		text, _ := io.ReadAll(io.LimitReader(res.Body, 200)) // only to say why
		return fmt.Errorf("the ledger failed: %s", text)
	}
	return nil
}
