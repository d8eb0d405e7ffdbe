// Peers drives what a user would pick instead of Lockstep with the same work, on the same machine: three etcd processes,
// and one PostgreSQL. What a call that failed came to is not counted, and told.
//
//	peers etcd [flags]       three nodes on loopback, default timers, fsync on
//	peers postgres [flags]   one node, defaults of initdb, fsync on
//	peers compare [flags]    both in turns with lockstep bench, and each line of the bar
package main

import (
	"context"
	"encoding/json"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"sync"
	"syscall"
	"time"

	"github.com/HdrHistogram/hdrhistogram-go"
)

// figure is what one load came to.
type figure struct {
	Load      string  `json:"load"`
	Clients   int     `json:"clients"`
	PerSecond float64 `json:"perSecond"`
	P50Ms     float64 `json:"p50Ms"`
	P99Ms     float64 `json:"p99Ms"`
	Failed    int     `json:"failed"`
}

// options are of every peer.
type options struct {
	seconds, warmUp time.Duration
	payload         []byte
}

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	if err := run(ctx, os.Args[1:]); err != nil {
		fmt.Fprintln(os.Stderr, "peers:", err)
		os.Exit(1)
	}
}

func run(ctx context.Context, args []string) error {
	if len(args) == 0 {
		return fmt.Errorf("usage: peers etcd|postgres|compare [--seconds N] [--warm-up N] [--payload BYTES] [--runs N] [--kills N] [--lockstep BINARY]")
	}
	flags := flag.NewFlagSet(args[0], flag.ContinueOnError)
	seconds := flags.Float64("seconds", 10, "how long each load is measured")
	warmUp := flags.Float64("warm-up", 2, "how long it goes on before")
	payload := flags.Int("payload", 256, "bytes in and out of a step")
	runs := flags.Int("runs", 3, "compare: how often each is measured, in turns")
	kills := flags.Int("kills", 20, "compare: of the leader, in each run")
	lockstep := flags.String("lockstep", "lockstep", "compare: the binary")
	node := nodeFlags(flags)
	if err := flags.Parse(args[1:]); err != nil {
		return err
	}
	o := options{
		seconds: time.Duration(*seconds * float64(time.Second)), warmUp: time.Duration(*warmUp * float64(time.Second)),
		payload: make([]byte, *payload),
	}
	for i := range o.payload {
		o.payload[i] = 'x'
	}
	var figures []figure
	var err error
	switch args[0] {
	case "etcd":
		figures, err = etcd(ctx, o)
	case "etcd-node":
		return node.serve(ctx)
	case "postgres":
		figures, err = postgres(ctx, o)
	case "compare":
		return compare(ctx, o, *runs, *kills, *lockstep)
	default:
		return fmt.Errorf("there is no peer %q: etcd or postgres", args[0])
	}
	if err != nil {
		return err
	}
	e := json.NewEncoder(os.Stdout)
	e.SetIndent("", "  ")
	return e.Encode(figures)
}

// measure has clients do something again and again, and counts what is done in the window. do makes a client's turn; it
// returns false for one that came to nothing.
func (o options) measure(ctx context.Context, load string, clients int, do func(ctx context.Context, client int) (bool, error)) (figure, error) {
	ctx, cancel := context.WithTimeout(ctx, o.warmUp+o.seconds)
	defer cancel()
	begin := time.Now().Add(o.warmUp)
	var mu sync.Mutex
	all, failed := hdrhistogram.New(1, int64(10*time.Minute/time.Microsecond), 3), 0
	var first error
	var work sync.WaitGroup
	for client := range clients {
		work.Go(func() {
			times, lost := hdrhistogram.New(1, int64(10*time.Minute/time.Microsecond), 3), 0
			for ctx.Err() == nil {
				from := time.Now()
				ok, err := do(ctx, client)
				switch now := time.Now(); {
				case ctx.Err() != nil:
				case err != nil || !ok:
					lost++
					mu.Lock()
					if first == nil {
						first = err
					}
					mu.Unlock()
				case from.After(begin):
					_ = times.RecordValue(max(1, now.Sub(from).Microseconds())) // it is in range
				}
			}
			mu.Lock()
			defer mu.Unlock()
			all.Merge(times)
			failed += lost
		})
	}
	work.Wait()
	if all.TotalCount() == 0 {
		return figure{}, fmt.Errorf("%s: nothing was done: %w", load, first)
	}
	ms := func(q float64) float64 { return float64(all.ValueAtQuantile(q)) / 1000 }
	f := figure{load, clients, float64(all.TotalCount()) / o.seconds.Seconds(), ms(50), ms(99), failed}
	fmt.Fprintf(os.Stderr, "%-28s %4d clients  %9.0f/s  p50 %7.1f ms  p99 %7.1f ms", f.Load, f.Clients, f.PerSecond, f.P50Ms, f.P99Ms)
	if failed > 0 {
		fmt.Fprintf(os.Stderr, "  %d failed: %v", failed, first)
	}
	fmt.Fprintln(os.Stderr)
	return f, nil
}
