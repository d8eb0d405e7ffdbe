// Package demo runs the main job under fire, on processes: three servers, workers that write to a ledger, a leader
// killed, a worker killed, another stopped between its last look at the clock and its write, and a leader killed while an order
// that failed is undone.
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

// Line of the ledger: a side effect that a worker had under a token, or what it was answered to its completion.
type Line struct {
	// Lease names what the token is of: the run's idempotency key.
	Lease    string `json:"lease"`
	Token    int64  `json:"token"`
	Instance string `json:"instance"`
	Step     string `json:"step"`
	// Refused: the token was older than one that the ledger had seen of the lease.
	Refused bool `json:"refused,omitempty"`
	// Answer is set when the line is no effect: whether the completion under the token was accepted or refused.
	Answer string `json:"answer,omitempty"`
}

// What a completion was answered.
const (
	accepted = "accepted"
	refused  = "refused"
)

// ledger is a target of side effects that knows nothing of Lockstep. It keeps the highest token of each lease, and
// refuses an older one: the guard that makes a fencing token work. Every attempt is a line of its file. It writes answers
// down as they are told.
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

// ServeHTTP takes one line, or refuses an effect with 409.
func (l *ledger) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	var e Line
	if err := json.NewDecoder(io.LimitReader(r.Body, 1<<16)).Decode(&e); err != nil || e.Lease == "" || e.Token <= 0 {
		http.Error(w, "not a line", http.StatusBadRequest)
		return
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	if e.Answer == "" {
		e.Refused = e.Token < l.high[e.Lease]
		l.high[e.Lease] = max(l.high[e.Lease], e.Token)
	}
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
func readLedger(path string) ([]Line, error) {
	file, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer file.Close()
	var read []Line
	for lines := bufio.NewScanner(file); ; {
		if !lines.Scan() {
			return read, lines.Err()
		}
		var e Line
		if err := json.Unmarshal(lines.Bytes(), &e); err != nil {
			return nil, fmt.Errorf("ledger line %d: %w", len(read)+1, err)
		}
		read = append(read, e)
	}
}

// judgement is what the ledger shows.
type judgement struct {
	fenced     int // refused writes
	late       int // completions that were tried under a token older than that of an effect, whatever their answer
	duplicates int // completions that were accepted of a run under other tokens than its first
	order      int // effects before one of what their step needs
	unfinished int // runs that completed and left no effect
}

// judge reads a ledger in order. needs tells, of a workflow's instance, what each step needs and has to have an effect
// before it; completed, under which tokens the history says that runs completed. A completion is accepted when either
// says so: the history by itself cannot show one that was acknowledged and is not in it.
func judge(lines []Line, needs func(instance, step string) []string, completed map[string][]int64) judgement {
	var j judgement
	high := map[string]int64{} // by run, the highest token of its effects
	tokens := map[string]map[int64]bool{}
	accept := func(run string, token int64) {
		if tokens[run] == nil {
			tokens[run] = map[int64]bool{}
		}
		tokens[run][token] = true
	}
	for _, l := range lines {
		run := l.Instance + "/" + l.Step
		switch {
		case l.Answer != "":
			if l.Token < high[run] {
				j.late++
			}
			if l.Answer == accepted {
				accept(run, l.Token)
			}
		case l.Refused:
			j.fenced++
		default:
			for _, need := range needs(l.Instance, l.Step) {
				if high[l.Instance+"/"+need] == 0 {
					j.order++
				}
			}
			high[run] = max(high[run], l.Token)
		}
	}
	for run, under := range completed {
		for _, token := range under {
			accept(run, token)
		}
		if high[run] == 0 {
			j.unfinished++
		}
	}
	for _, under := range tokens {
		j.duplicates += len(under) - 1
	}
	return j
}
