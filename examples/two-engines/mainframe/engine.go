package main

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"log"
	"net/http"
	"os"
	"sync"
	"time"
)

// steps are what the engine does of each order, in this order.
var steps = []string{"clear", "settle"}

// entry is a line of the books: a step that was done, once, whatever became of the report.
type entry struct {
	Instance  string            `json:"instance"`
	Step      string            `json:"step"` // empty: the order was taken
	Execution string            `json:"execution,omitempty"`
	Output    map[string]string `json:"output,omitempty"`
	At        time.Time         `json:"at"`
}

// order is what the books have of an instance, if it was taken.
type order struct {
	taken   bool
	done    []entry
	through chan struct{} // closed when all is done, and was reported, or lost
}

// engine takes orders. One goroutine works on each order that is not done; they end with the context that open was given.
type engine struct {
	ctx      context.Context
	lockstep *lockstep
	work     sync.WaitGroup

	mu     sync.Mutex // over all below
	books  *os.File
	number int // of lines
	orders map[string]*order
}

// open reads the books, and goes on with what is in them.
func open(ctx context.Context, path string, l *lockstep) (*engine, error) {
	e := &engine{ctx: ctx, lockstep: l, orders: map[string]*order{}}
	old, err := os.Open(path)
	if err == nil {
		err = e.read(old)
	}
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("read the books: %w", err)
	}
	if e.books, err = os.OpenFile(path, os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o644); err != nil {
		return nil, fmt.Errorf("open the books: %w", err)
	}
	for instance, o := range e.orders {
		e.work.Go(func() { e.goOn(instance, o) })
	}
	return e, nil
}

func (e *engine) read(old *os.File) error {
	defer old.Close()
	lines := bufio.NewScanner(old)
	for lines.Scan() {
		var x entry
		if err := json.Unmarshal(lines.Bytes(), &x); err != nil {
			return fmt.Errorf("line %d: %w", e.number+1, err)
		}
		e.number++
		if o := e.orderOf(x.Instance); x.Step == "" {
			o.taken = true
		} else {
			o.done = append(o.done, x)
		}
	}
	return lines.Err()
}

func (e *engine) close() {
	e.work.Wait()
	e.books.Close()
}

// write appends to the books. The caller holds the mutex.
func (e *engine) write(x entry) error {
	line, err := json.Marshal(x)
	if err != nil {
		return err
	}
	if _, err := e.books.Write(append(line, '\n')); err != nil {
		return err
	}
	e.number++
	return e.books.Sync()
}

// take takes an order; the same again is the one that it has.
func (e *engine) take(instance string) error {
	e.mu.Lock()
	defer e.mu.Unlock()
	o := e.orderOf(instance)
	if o.taken {
		return nil
	}
	if err := e.write(entry{Instance: instance, At: time.Now()}); err != nil {
		return err
	}
	o.taken = true
	e.work.Go(func() { e.goOn(instance, o) })
	return nil
}

// order is that of an instance, or the place of one that is still to come.
func (e *engine) order(instance string) *order {
	e.mu.Lock()
	defer e.mu.Unlock()
	return e.orderOf(instance)
}

// orderOf is order. The caller holds the mutex.
func (e *engine) orderOf(instance string) *order {
	if e.orders[instance] == nil {
		e.orders[instance] = &order{through: make(chan struct{})}
	}
	return e.orders[instance]
}

// goOn does what is not done of an order. What was in the books when the process started is not reported again: whoever wants to know asks.
func (e *engine) goOn(instance string, o *order) {
	defer close(o.through)
	for _, step := range steps[len(e.doneOf(instance)):] {
		x, err := e.do(instance, step)
		if err == nil {
			err = e.lockstep.complete(e.ctx, x)
		}
		if err != nil {
			log.Printf("%s of %s: %v", step, instance, err) // there is no second attempt: the books have it
		}
	}
}

func (e *engine) do(instance, step string) (entry, error) {
	e.mu.Lock()
	defer e.mu.Unlock()
	x := entry{Instance: instance, Step: step, Execution: fmt.Sprint("tx-", e.number+1), At: time.Now()}
	x.Output = map[string]string{"reference": x.Execution}
	if err := e.write(x); err != nil {
		return x, err
	}
	o := e.orders[instance]
	o.done = append(o.done, x)
	return x, nil
}

// doneOf is what the books have of an instance.
func (e *engine) doneOf(instance string) []entry {
	e.mu.Lock()
	defer e.mu.Unlock()
	if o := e.orders[instance]; o != nil {
		return o.done
	}
	return nil
}

func (e *engine) serve(ctx context.Context, address string) error {
	mux := http.NewServeMux()
	mux.HandleFunc("POST /order", e.handle(func(_ context.Context, instance string) (any, error) {
		return map[string]bool{"ordered": true}, e.take(instance)
	}))
	mux.HandleFunc("POST /wait", e.handle(func(ctx context.Context, instance string) (any, error) {
		select {
		case <-e.order(instance).through:
		case <-ctx.Done():
		}
		return e.doneOf(instance), ctx.Err()
	}))
	mux.HandleFunc("POST /tell", e.handle(func(ctx context.Context, instance string) (any, error) {
		for _, x := range e.doneOf(instance) {
			if err := e.lockstep.report(ctx, observed(x)); err != nil {
				return nil, err
			}
		}
		return e.doneOf(instance), nil
	}))
	mux.HandleFunc("POST /observe", e.observe)
	server := &http.Server{Addr: address, Handler: mux, ReadHeaderTimeout: 10 * time.Second}
	context.AfterFunc(ctx, func() { server.Close() })
	if err := server.ListenAndServe(); !errors.Is(err, http.ErrServerClosed) {
		return err
	}
	return nil
}

// handle answers what is asked about an instance with what fn says.
func (e *engine) handle(fn func(ctx context.Context, instance string) (any, error)) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		ctx, cancel := context.WithCancel(r.Context())
		defer context.AfterFunc(e.ctx, cancel)()
		defer cancel()
		answer, err := fn(ctx, r.URL.Query().Get("instance"))
		if err != nil {
			http.Error(w, err.Error(), http.StatusInternalServerError)
			return
		}
		_ = json.NewEncoder(w).Encode(answer) // who went away is told nothing
	}
}

// observe answers Lockstep's sweep: what the books have of each run that it has heard nothing of.
func (e *engine) observe(w http.ResponseWriter, r *http.Request) {
	var question struct {
		Runs []struct {
			InstanceID string `json:"instanceId"`
			Step       string `json:"step"`
		} `json:"runs"`
	}
	if err := json.NewDecoder(http.MaxBytesReader(w, r.Body, 1<<20)).Decode(&question); err != nil {
		http.Error(w, err.Error(), http.StatusBadRequest)
		return
	}
	answer := map[string][]observation{"observations": {}}
	for _, run := range question.Runs {
		answer["observations"] = append(answer["observations"], e.saw(run.InstanceID, run.Step))
	}
	_ = json.NewEncoder(w).Encode(answer)
}

// saw is what the books have of a run.
func (e *engine) saw(instance, step string) observation {
	for _, x := range e.doneOf(instance) {
		if x.Step == step {
			return observed(x)
		}
	}
	now := time.Now()
	return observation{
		InstanceID: instance, Step: step, ObservationID: fmt.Sprint(now.UnixNano()), State: "OBSERVED_STATE_ABSENT", ObservedAt: now, Evidence: "not in the books",
	}
}
