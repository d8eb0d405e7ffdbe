// Package workload makes work for a cluster under faults and keeps what it was told: what it asked and when, what was
// answered and when. It sees a cluster as any client does. Package check compares what was told with what happened.
package workload

import (
	"context"
	"encoding/json"
	"errors"
	"os"
	"sync"
	"time"

	"github.com/lockstep-dev/lockstep/client"
	"github.com/lockstep-dev/lockstep/jepsen/check"
)

// Recorder keeps operations, in memory and as lines of JSON in a file. It is safe for concurrent use.
type Recorder struct {
	began     time.Time
	instances newest
	locks     newest

	mu   sync.Mutex // guards what follows
	file *os.File
	ops  []*check.Op
	err  error
}

// NewRecorder makes one that writes to a file.
func NewRecorder(path string) (*Recorder, error) {
	f, err := os.Create(path)
	return &Recorder{began: time.Now(), file: f}, err
}

// Now is the time of the history: since its beginning, on this process's monotonic clock.
func (r *Recorder) Now() time.Duration { return time.Since(r.began) }

// Do makes a call and records it. An answer of the cluster's, yes or no, is an outcome; anything else leaves it open.
func (r *Recorder) Do(op check.Op, call func(*check.Op) error) error {
	op.Invoke = r.Now()
	err := call(&op)
	op.Return = r.Now()
	refusal, refused := client.AsRefusal(err)
	switch {
	case err == nil:
		op.Outcome = check.OK
	case refused && !open(refusal):
		op.Outcome, op.Code = check.Refused, client.CodeName(refusal.Code)
	default:
		op.Outcome = check.Unknown
		if refused {
			op.Code = client.CodeName(refusal.Code)
		}
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	r.ops = append(r.ops, &op)
	line, marshalled := json.Marshal(op)
	_, wrote := r.file.Write(append(line, '\n'))
	r.err = errors.Join(r.err, marshalled, wrote)
	return err
}

// open says that a refusal does not tell what became of the call.
func open(r *client.Refusal) bool {
	switch client.CodeName(r.Code) {
	case "UNKNOWN_OUTCOME", "UNAVAILABLE", "NO_LEADER", "OVERLOADED":
		return true
	}
	return false
}

// Close ends the file and returns all operations, in order of their return.
func (r *Recorder) Close() ([]*check.Op, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.ops, errors.Join(r.err, r.file.Close())
}

// Count tells how many operations ended in each way so far.
func (r *Recorder) Count() (ok, refused, unknown int) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, op := range r.ops {
		switch op.Outcome {
		case check.OK:
			ok++
		case check.Refused:
			refused++
		default:
			unknown++
		}
	}
	return ok, refused, unknown
}

// pause sleeps, unless the context ends before.
func pause(ctx context.Context, d time.Duration) {
	select {
	case <-ctx.Done():
	case <-time.After(d):
	}
}

// call bounds one operation.
func call(ctx context.Context) (context.Context, context.CancelFunc) {
	return context.WithTimeout(ctx, 10*time.Second)
}
