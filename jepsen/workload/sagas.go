package workload

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"time"

	"github.com/lockstep-dev/lockstep/client"
	"github.com/lockstep-dev/lockstep/jepsen/check"
	v1 "github.com/lockstep-dev/lockstep/proto/gen/lockstep/v1"
)

// The workflows whose instances are undone: one by its graph, one in sequence, where the order of completion says more than
// the graph does, one that goes on behind some failures, one that calls another, waits for a step of the one before or after it, and meets
// one of any lane at a barrier, and waits by a key that the step gives for two others, one that holds locks, of which two want those of each other at times, and one with steps inside steps.
// Their input names the step that fails, if one is to, and with which code.
const (
	saga = `
workflow: saga
steps:
  take: {queue: work, retry: {attempts: 50, backoff: 100ms, maxBackoff: 1s}, compensate: {}}
  left: {needs: [take], queue: work, retry: {attempts: 50, backoff: 100ms, maxBackoff: 1s}, compensate: {}}
  right: {needs: [take], queue: work, retry: {attempts: 50, backoff: 100ms, maxBackoff: 1s}, compensate: {}}
  heard: {needs: [left], signal: {name: go}}
  pay: {needs: [heard, right], queue: work, retry: {attempts: 50, backoff: 100ms, maxBackoff: 1s}, locks: ["left/${input.hot}"], compensate: {}}
  end: {needs: [pay], queue: work, retry: {attempts: 50, backoff: 100ms, maxBackoff: 1s}}
`
	row = `
workflow: row
compensation: sequential
steps:
  one: {queue: work, retry: {attempts: 50, backoff: 100ms, maxBackoff: 1s}, compensate: {}}
  two: {queue: work, retry: {attempts: 50, backoff: 100ms, maxBackoff: 1s}, compensate: {}}
  heard: {needs: [one], signal: {name: go}}
  again: {needs: [heard], signal: {name: go}}
  three: {needs: [again], queue: work, retry: {attempts: 50, backoff: 100ms, maxBackoff: 1s}, compensate: {}}
  end: {needs: [two, three], queue: work, retry: {attempts: 50, backoff: 100ms, maxBackoff: 1s}, compensate: {}}
`
	bill = `
workflow: bill
steps:
  hold: {queue: work, retry: {attempts: 50, backoff: 100ms, maxBackoff: 1s}, compensate: {}}
  charge: {needs: [hold], queue: work, retry: {attempts: 50, backoff: 100ms, maxBackoff: 1s}, compensate: {}}
  ship: {needs: [charge], queue: work, retry: {attempts: 50, backoff: 100ms, maxBackoff: 1s}, locks: ["left/${input.hot}"], compensate: {}}
  call: {needs: [{step: charge, ends: failed, codes: [CHOSEN]}], queue: work, retry: {attempts: 50, backoff: 100ms, maxBackoff: 1s}, locks: ["left/${input.hot}"], compensate: {}}
  look: {needs: [{step: charge, ends: failed, codes: [OTHER, NONE]}], queue: work, retry: {attempts: 50, backoff: 100ms, maxBackoff: 1s}}
  note: {needs: [{step: charge, ends: any}], queue: work, retry: {attempts: 50, backoff: 100ms, maxBackoff: 1s}}
  late: {needs: [{step: ship, ends: failed, codes: [OTHER]}], queue: work, retry: {attempts: 50, backoff: 100ms, maxBackoff: 1s}}
  end: {needs: [ship, call, look, note], queue: work, retry: {attempts: 50, backoff: 100ms, maxBackoff: 1s}}
`
	trade = `
workflow: trade
steps:
  open: {queue: work, retry: {attempts: 50, backoff: 100ms, maxBackoff: 1s}, keys: {lot: "${input.hot}"}, compensate: {}}
  parcel:
    needs: [open]
    call: {workflow: parcel}
    input: {hot: "${input.hot}", fails: "${input.fails}", code: "${input.code}"}
    compensate: {queue: work}
  news: {await: {instance: "${input.other}", step: open}, timeouts: {total: 15s}}
  meet: {needs: [open], barrier: {name: "trades-${input.hot}", parties: 2}, timeouts: {total: 5s}}
  lot: {needs: [open], await: {key: {lot: "${input.hot}"}, step: open, of: {atLeast: 2}}, timeouts: {total: 5s}}
  end: {needs: [parcel, news, {step: meet, ends: any}, {step: lot, ends: any}], queue: work, retry: {attempts: 50, backoff: 100ms, maxBackoff: 1s}}
`
	parcel = `
workflow: parcel
steps:
  pack: {queue: work, retry: {attempts: 50, backoff: 100ms, maxBackoff: 1s}, locks: ["left/${input.hot}"], compensate: {}}
  send: {needs: [pack], queue: work, retry: {attempts: 50, backoff: 100ms, maxBackoff: 1s}, compensate: {}}
`
	move = `
workflow: move
steps:
  debit: {queue: work, retry: {attempts: 50, backoff: 100ms, maxBackoff: 1s}, locks: [{name: "account/${input.hot}", hold: instance}], compensate: {locks: ["account/${input.hot}"]}}
  heard: {needs: [debit], signal: {name: go}}
  credit: {needs: [heard], queue: work, retry: {attempts: 50, backoff: 100ms, maxBackoff: 1s, nonRetryable: [DEADLOCK]}, locks: [{name: "account/${input.at}", hold: instance}], compensate: {locks: ["account/${input.at}"]}}
  end: {needs: [credit], queue: work, retry: {attempts: 50, backoff: 100ms, maxBackoff: 1s}, locks: ["account/${input.hot}"]}
`
	fleet = `
workflow: fleet
steps:
  list: {queue: work, retry: {attempts: 50, backoff: 100ms, maxBackoff: 1s}, compensate: {}}
  each:
    needs: [list]
    forEach:
      in: [0, 1, 2]
      width: 2
      steps:
        take: {queue: work, input: {fails: "${input.at == item ? input.fails : ''}", code: "${input.code}"}, retry: {attempts: 50, backoff: 100ms, maxBackoff: 1s}, compensate: {}}
        send: {needs: [take], queue: work, input: {fails: "${input.at == item ? input.fails : ''}", code: "${input.code}"}, retry: {attempts: 50, backoff: 100ms, maxBackoff: 1s}, compensate: {}}
  again:
    needs: [{step: each, ends: failed, codes: [CHOSEN]}]
    scope:
      steps:
        look: {queue: work, retry: {attempts: 50, backoff: 100ms, maxBackoff: 1s}}
        tell: {needs: [look], queue: work, retry: {attempts: 50, backoff: 100ms, maxBackoff: 1s}, compensate: {}}
  turn:
    needs: [{step: each, ends: any, codes: [CHOSEN]}, again]
    loop:
      max: 2
      steps:
        ask: {queue: work, retry: {attempts: 50, backoff: 100ms, maxBackoff: 1s}, compensate: {}}
  end: {needs: [turn], queue: work, retry: {attempts: 50, backoff: 100ms, maxBackoff: 1s}}
`
)

// undone are they, with the steps that may fail.
var undone = []struct {
	workflow string
	steps    []string
}{
	{"saga", []string{"take", "left", "right", "pay", "end"}},
	{"row", []string{"one", "two", "three", "end"}},
	{"bill", []string{"charge", "charge", "charge", "ship", "call", "end"}},
	{"trade", []string{"open", "pack", "send", "send", "end"}},
	{"move", []string{"debit", "credit", "end"}},
	{"fleet", []string{"take", "send", "send", "tell", "ask", "end"}},
}

// codes are those that steps fail with.
var codes = []string{"CHOSEN", "OTHER", "LOST"}

// signals are the ids of those that each instance is told: as many as steps of it wait for one.
var signals = []string{"1", "2"}

// Sagas starts instances for the workers' queue, one after the other until the context ends, tells each its signals in the
// meantime, some of them again and again, and cancels some. In every other one, by chance, a step fails. Some are forked.
func (r *Recorder) Sagas(ctx context.Context, c *client.Client, lane int, seed uint64) {
	chance := rand.New(rand.NewPCG(seed, uint64(9000+lane)))
	for n := 0; ctx.Err() == nil; n++ {
		of := undone[n%len(undone)]
		input := map[string]any{"hot": chance.IntN(3), "at": chance.IntN(3), "fails": "", "code": ""}
		if chance.IntN(2) == 0 {
			input["fails"], input["code"] = of.steps[chance.IntN(len(of.steps))], codes[chance.IntN(len(codes))]
		}
		id := fmt.Sprintf("%s-%d-%d", of.workflow, lane, n)
		if of.workflow == "trade" { // it waits for another, which may be started later
			other := n - len(undone)
			if other < 0 || chance.IntN(2) == 0 {
				other = n + len(undone)
			}
			input["other"] = fmt.Sprintf("trade-%d-%d", lane, other)
		}
		calling, cancel := call(ctx)
		err := r.Do(check.Op{Kind: "start", Instance: id}, func(*check.Op) error {
			_, err := c.Start(calling, of.workflow, id, input, client.StartOptions{})
			return err
		})
		cancel()
		if err == nil {
			r.meddle(ctx, c, id, chance)
		}
		if forks := of.workflow == "saga" || of.workflow == "row"; err == nil && forks {
			r.fork(ctx, c, id, of.steps[chance.IntN(len(of.steps))], chance)
		}
	}
}

// fork forks an instance from a step, whatever became of it by then, now and then twice, and meddles with the fork.
func (r *Recorder) fork(ctx context.Context, c *client.Client, id, step string, chance *rand.Rand) {
	fork := id + "-fork"
	var err error
	for range 1 + chance.IntN(4)/3 {
		calling, cancel := call(ctx)
		err = r.Do(check.Op{Kind: "start", Instance: fork}, func(*check.Op) error {
			_, err := c.Fork(calling, id, step, fork, client.ForkOptions{Reason: "chance"})
			return err
		})
		cancel()
	}
	if err == nil {
		r.meddle(ctx, c, fork, chance)
	}
}

// meddle tells an instance signals while it runs, and may cancel it.
func (r *Recorder) meddle(ctx context.Context, c *client.Client, id string, chance *rand.Rand) {
	for range 6 {
		pause(ctx, time.Duration(chance.IntN(200))*time.Millisecond)
		if chance.IntN(20) == 0 {
			r.cancel(ctx, c, id)
			continue
		}
		r.tell(ctx, c, id, signals[chance.IntN(len(signals))])
	}
}

func (r *Recorder) tell(ctx context.Context, c *client.Client, id, signal string) {
	calling, cancel := call(ctx)
	defer cancel()
	_ = r.Do(check.Op{Kind: "signal", Instance: id, Signal: signal}, func(*check.Op) error { return tell(calling, c, id, signal) }) // its outcome is on record
}

func tell(ctx context.Context, c *client.Client, id, signal string) error {
	_, err := c.Signal(ctx, id, "go", signal, nil, client.SignalOptions{})
	return err
}

func (r *Recorder) cancel(ctx context.Context, c *client.Client, id string) {
	calling, done := call(ctx)
	defer done()
	_ = r.Do(check.Op{Kind: "cancel", Instance: id}, func(*check.Op) error { _, err := c.Cancel(calling, id, "chance"); return err }) // its outcome is on record
}

// TellRest tells instances those of their signals that nobody acknowledged yet, now that nothing is broken any more. What was
// acknowledged must not need it.
func TellRest(ctx context.Context, c *client.Client, ids []string, ops []*check.Op) error {
	told := map[[2]string]bool{}
	for _, op := range ops {
		if op.Kind == "signal" && (op.Outcome == check.OK || op.Code == "ALREADY_ENDED") {
			told[[2]string{op.Instance, op.Signal}] = true
		}
	}
	var errs []error
	for _, id := range ids {
		for _, signal := range signals {
			if told[[2]string{id, signal}] {
				continue
			}
			err := tell(ctx, c, id, signal)
			if refusal, ok := client.AsRefusal(err); err != nil && !(ok && refusal.Code == v1.Code_CODE_ALREADY_ENDED) {
				errs = append(errs, fmt.Errorf("%s: %w", id, err))
			}
		}
	}
	return errors.Join(errs...)
}

// End waits until an instance has ended. A compensation that used up its attempts, for workers are stopped all the time, stands
// still; it is tried again, as somebody who looks after it would have it.
func End(ctx context.Context, c *client.Client, id string) {
	for ctx.Err() == nil {
		waiting, cancel := context.WithTimeout(ctx, 5*time.Second)
		_, err := c.Wait(waiting, id)
		cancel()
		if over(err) {
			return
		}
		again(ctx, c, id)
		pause(ctx, 100*time.Millisecond)
	}
}

// again has what stands still of an instance tried again, and of those that it called.
func again(ctx context.Context, c *client.Client, id string) {
	i, err := c.Get(ctx, id)
	if err != nil {
		return // the next look tells
	}
	if standsStill(i) {
		_, _ = c.Compensate(ctx, id, "it stands still", client.CompensateOptions{}) // what came of it the next look tells
	}
	for _, r := range i.Runs {
		if r.State == v1.RunState_RUN_STATE_WAITING && strings.HasPrefix(r.OtherInstance, id+":") {
			again(ctx, c, r.OtherInstance)
		}
	}
}

func standsStill(i *v1.Instance) bool {
	return slices.ContainsFunc(i.Runs, func(r *v1.Run) bool { return r.State == v1.RunState_RUN_STATE_INCIDENT && r.Compensates != "" })
}

// chosen is the code that the step is to fail with; empty when it is not the one that its instance is to fail at. What undoes a step has
// another input, and does not fail; nor do steps whose input is none of ours.
func chosen(s *client.Step) string {
	var input struct{ Fails, Code string }
	if s.Input(&input) != nil || input.Fails != s.Step {
		return ""
	}
	return input.Code
}
