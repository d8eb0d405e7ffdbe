package demo

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/lockstep-dev/lockstep/client"
	"github.com/lockstep-dev/lockstep/cmd/lockstep/local"
	"github.com/lockstep-dev/lockstep/examples"
	"github.com/lockstep-dev/lockstep/fsm/graph"
	"github.com/lockstep-dev/lockstep/fsm/graph/source"
	v1 "github.com/lockstep-dev/lockstep/proto/gen/lockstep/v1"
)

// Config of a demo.
type Config struct {
	// Binary is the lockstep that runs the processes.
	Binary string
	// WfCommons is a recorded execution to run as well.
	WfCommons string
	// ServerArgs are given to every server.
	ServerArgs []string
	// Say is told what happens.
	Say func(format string, args ...any)
}

// Result is what the demo saw. OK only when everything held.
type Result struct {
	Instances            int      `json:"instances"`
	Runs                 int      `json:"runs"`
	AcceptedCompletions  int      `json:"acceptedCompletions"`
	DuplicateCompletions int      `json:"duplicateCompletions"`
	OrderViolations      int      `json:"orderViolations"`
	FencedWrites         int      `json:"fencedWrites"`
	FencedCompletions    int      `json:"fencedCompletions"`
	LeaderKills          int      `json:"leaderKills"`
	LeaderKilledUndoing  bool     `json:"leaderKilledUndoing"`
	Compensated          int      `json:"compensated"`
	FailoverMs           int64    `json:"failoverMs"`
	WorkerLossRegrantMs  int64    `json:"workerLossRegrantMs"`
	HistoryDigestsEqual  bool     `json:"historyDigestsEqual"`
	Seconds              float64  `json:"seconds"`
	OK                   bool     `json:"ok"`
	Problems             []string `json:"problems,omitempty"`
}

const (
	ttl     = 2 * time.Second
	timeout = 55 * time.Second
	perKind = 6
)

// demo is a running demo. What it starts ends with it.
type demo struct {
	Config
	dir     string
	cluster *local.Cluster
	client  *client.Client
	http    *http.Client
	result  Result
	ledger  string // its address
	slots   int    // of each worker; zero is the default
	queues  []string
	graphs  map[string]*graph.Graph // by workflow
	started map[string]string       // instance -> workflow

	mu    sync.Mutex // guards procs
	procs map[string]*part
	tasks sync.WaitGroup
}

// Run runs the demo. The error says that it could not be run to its end; what it saw is in the result.
func Run(ctx context.Context, c Config) (_ *Result, err error) {
	ctx, cancel := context.WithTimeout(ctx, timeout)
	defer cancel()
	began := time.Now()
	dir, err := os.MkdirTemp("", "lockstep-demo-")
	if err != nil {
		return nil, err
	}
	d := &demo{Config: c, dir: dir, graphs: map[string]*graph.Graph{}, started: map[string]string{}, procs: map[string]*part{}}
	protocols := new(http.Protocols)
	protocols.SetUnencryptedHTTP2(true)
	d.http = &http.Client{Transport: &http.Transport{Protocols: protocols}}
	defer func() { err = errors.Join(err, d.end()) }()
	if err := d.setUp(ctx); err != nil {
		return nil, err
	}
	if err := d.underFire(ctx); err != nil {
		return nil, fmt.Errorf("%w\n%s", err, d.explain())
	}
	if err := d.look(ctx); err != nil {
		return nil, err
	}
	d.result.Seconds = time.Since(began).Seconds()
	return &d.result, nil
}

// end kills what runs, and leaves nothing behind.
func (d *demo) end() error {
	d.mu.Lock()
	for _, p := range d.procs {
		_ = p.cmd.Process.Kill() // it may have ended
	}
	d.mu.Unlock()
	d.tasks.Wait()
	var errs []error
	d.http.CloseIdleConnections()
	if d.client != nil {
		d.client.Close()
	}
	if d.cluster != nil {
		errs = append(errs, d.cluster.Down(5*time.Second))
	}
	return errors.Join(append(errs, os.RemoveAll(d.dir))...)
}

func (d *demo) setUp(ctx context.Context) (err error) {
	d.cluster, err = local.Create(local.Config{Dir: filepath.Join(d.dir, "cluster"), Binary: d.Binary, Size: 3, Args: append([]string{"--log-level", "warn"}, d.ServerArgs...)})
	if err != nil {
		return err
	}
	for _, n := range d.cluster.Nodes {
		if err := d.cluster.StartAttached(n.Number); err != nil {
			return err
		}
	}
	d.Say("three servers, with their data on disk in %s", d.dir)
	if d.client, err = client.New(client.Config{Servers: d.cluster.APIs()}); err != nil {
		return err
	}
	for _, name := range examples.Names() {
		text, err := examples.Definition(name)
		if err == nil {
			err = d.register(ctx, text)
		}
		if err != nil {
			return err
		}
	}
	if d.WfCommons != "" {
		if err := d.registerPipeline(ctx); err != nil {
			return err
		}
	}
	return d.startLedger()
}

func (d *demo) register(ctx context.Context, text []byte) error {
	parsed, err := source.Parse(text, "yaml")
	if err != nil {
		return err
	}
	g, err := graph.Compile(parsed.Canonical)
	if err != nil {
		return err
	}
	d.graphs[g.Name] = g
	for _, n := range g.Nodes {
		if n.Kind == graph.KindTask && !contains(d.queues, n.Queue) {
			d.queues = append(d.queues, n.Queue)
		}
	}
	_, err = d.client.Register(ctx, string(text))
	return err
}

func contains(list []string, s string) bool {
	for _, item := range list {
		if item == s {
			return true
		}
	}
	return false
}

const pipeline = "pipeline"

// slots are how many steps a worker takes at a time; for a recorded execution that is wide, more.
const slots = 6

func (d *demo) registerPipeline(ctx context.Context) error {
	raw, err := os.ReadFile(d.WfCommons)
	if err != nil {
		return err
	}
	text, err := source.WfCommons(raw, source.WfCommonsOptions{Name: pipeline, Queue: pipeline, CriticalPath: 5})
	if err != nil {
		return fmt.Errorf("%s: %w", d.WfCommons, err)
	}
	definition, err := source.Parse(text, "yaml")
	if err != nil {
		return fmt.Errorf("%s: %w", d.WfCommons, err)
	}
	d.slots = max(slots, definition.Steps/40)
	return d.register(ctx, text)
}

// part is a process of the demo.
type part struct {
	cmd   *exec.Cmd
	in    io.Closer // its end ends the process
	ended chan struct{}
}

// spawn starts a process of ours that ends with the demo.
func (d *demo) spawn(name string, args ...string) (out io.Reader, err error) {
	cmd := exec.Command(d.Binary, args...)
	in, err := cmd.StdinPipe()
	if err != nil {
		return nil, err
	}
	log, err := os.Create(filepath.Join(d.dir, name+".log"))
	if err != nil {
		return nil, err
	}
	defer log.Close()
	cmd.Stderr = log
	pipe, err := cmd.StdoutPipe()
	if err != nil {
		return nil, err
	}
	if err := cmd.Start(); err != nil {
		return nil, err
	}
	p := &part{cmd, in, make(chan struct{})}
	d.mu.Lock()
	d.procs[name] = p
	d.mu.Unlock()
	read, write := io.Pipe()
	d.tasks.Go(func() {
		_, err := io.Copy(write, pipe)
		_ = write.CloseWithError(err) // never fails
		_ = cmd.Wait()                // how it ends is the demo's own doing
		_ = in.Close()
		close(p.ended)
	})
	return read, nil
}

// finish has a process end by itself, and waits for it.
func (d *demo) finish(ctx context.Context, name string) error {
	d.mu.Lock()
	p := d.procs[name]
	d.mu.Unlock()
	_ = p.in.Close() // it may have ended
	select {
	case <-p.ended:
		return nil
	case <-ctx.Done():
		return fmt.Errorf("%s ends: not in time", name)
	}
}

func (d *demo) process(name string) *os.Process {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.procs[name].cmd.Process
}

func (d *demo) startLedger() error {
	out, err := d.spawn("ledger", "demo-ledger", "--file", d.ledgerFile())
	if err != nil {
		return err
	}
	first, err := bufio.NewReader(out).ReadString('\n')
	if err != nil {
		return fmt.Errorf("start ledger: %w", err)
	}
	d.ledger = strings.TrimSpace(first)
	return nil
}

func (d *demo) ledgerFile() string { return filepath.Join(d.dir, "ledger") }

func (d *demo) startWorker(name string, more ...string) error {
	args := append([]string{
		"demo-worker", "--server", strings.Join(d.cluster.APIs(), ","), "--queue", strings.Join(d.queues, ","),
		"--ledger", d.ledger, "--files", filepath.Join(d.dir, "files"), "--undoing", d.undoing(), "--ttl", ttl.String(), "--name", name, "--slots", strconv.Itoa(max(slots, d.slots)),
	}, more...)
	out, err := d.spawn(name, args...)
	if err == nil {
		d.tasks.Go(func() { _, _ = io.Copy(io.Discard, out) }) // it says nothing
	}
	return err
}

// explain tells why what has not ended has not.
func (d *demo) explain() string {
	ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
	defer cancel()
	var b strings.Builder
	for id := range d.started {
		explained, err := d.client.Explain(ctx, id, "")
		if err != nil {
			fmt.Fprintf(&b, "%s: %v\n", id, err)
		}
		for _, e := range explained {
			if e.Code != v1.ExplainCode_EXPLAIN_CODE_ENDED {
				fmt.Fprintf(&b, "%s: %s\n", id, e.Sentence)
			}
		}
	}
	return b.String()
}
