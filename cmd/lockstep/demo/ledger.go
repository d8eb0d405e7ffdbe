// Package demo runs the main job under fire, on processes: three servers, workers that write to a ledger, a leader
// killed, a worker killed, and another stopped between its last look at the clock and its write.
package demo

import (
	"bufio"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"sync"
)

// Effect is a line of the ledger: a side effect that a worker had under a token.
type Effect struct {
	// Lease names what the token is of: the run's idempotency key.
	Lease    string `json:"lease"`
	Token    int64  `json:"token"`
	Instance string `json:"instance"`
	Step     string `json:"step"`
	// Refused: the token was older than one that the ledger had seen of the lease.
	Refused bool `json:"refused,omitempty"`
}

// ledger is a target of side effects that knows nothing of Lockstep. It keeps the highest token of each lease, and
// refuses an older one: the guard that makes a fencing token work. Every attempt is a line of its file.
type ledger struct {
	mu   sync.Mutex // guards what follows
	high map[string]int64
	file *os.File
}

// ServeLedger runs a ledger on loopback until in ends. It prints its address as the first line of out.
func ServeLedger(path string, in io.Reader, out io.Writer) error {
	file, err := os.OpenFile(path, os.O_CREATE|os.O_EXCL|os.O_WRONLY, 0o600)
	if err != nil {
		return fmt.Errorf("open ledger: %w", err)
	}
	defer file.Close()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return fmt.Errorf("listen for the ledger: %w", err)
	}
	fmt.Fprintln(out, l.Addr())
	server := &http.Server{Handler: &ledger{high: map[string]int64{}, file: file}}
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		_, _ = io.Copy(io.Discard, in) // its end is the signal
		_ = server.Close()             // nobody writes any more
	}()
	err = server.Serve(l)
	<-ended
	if !errors.Is(err, http.ErrServerClosed) {
		return err
	}
	return file.Sync()
}

// ServeHTTP takes one effect, or refuses it with 409.
func (l *ledger) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	var e Effect
	if err := json.NewDecoder(io.LimitReader(r.Body, 1<<16)).Decode(&e); err != nil || e.Lease == "" || e.Token <= 0 {
		http.Error(w, "not an effect", http.StatusBadRequest)
		return
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	e.Refused = e.Token < l.high[e.Lease]
	l.high[e.Lease] = max(l.high[e.Lease], e.Token)
	line, err := json.Marshal(e)
	if err == nil {
		_, err = l.file.Write(append(line, '\n'))
	}
	switch {
	case err != nil:
		http.Error(w, err.Error(), http.StatusInternalServerError)
	case e.Refused:
		http.Error(w, fmt.Sprintf("token %d is older than %d", e.Token, l.high[e.Lease]), http.StatusConflict)
	}
}

// readLedger reads a ledger's file: the independent reader.
func readLedger(path string) ([]Effect, error) {
	file, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer file.Close()
	var effects []Effect
	for lines := bufio.NewScanner(file); ; {
		if !lines.Scan() {
			return effects, lines.Err()
		}
		var e Effect
		if err := json.Unmarshal(lines.Bytes(), &e); err != nil {
			return nil, fmt.Errorf("ledger line %d: %w", len(effects)+1, err)
		}
		effects = append(effects, e)
	}
}

// judgement is what the ledger shows, by itself.
type judgement struct {
	fenced     int // refused writes
	order      int // effects before one of what their step needs
	unfinished int // runs that completed and left no effect
}

// judge reads effects in order. needs tells, of a workflow's instance, what each step needs and has to have an effect
// before it; completed, which runs completed.
func judge(effects []Effect, needs func(instance, step string) []string, completed map[string]bool) judgement {
	var j judgement
	seen := map[string]bool{}
	for _, e := range effects {
		if e.Refused {
			j.fenced++
			continue
		}
		for _, need := range needs(e.Instance, e.Step) {
			if !seen[e.Instance+"/"+need] {
				j.order++
			}
		}
		seen[e.Instance+"/"+e.Step] = true
	}
	for run := range completed {
		if !seen[run] {
			j.unfinished++
		}
	}
	return j
}
