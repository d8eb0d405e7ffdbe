package lab

import (
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"strings"
	"syscall"
	"time"

	"github.com/lockstep-dev/lockstep/jepsen/lab/clock"
)

// process is a child that ends when this process does.
type process struct {
	cmd   *exec.Cmd
	in    io.Closer // the child ends with it
	ended chan struct{}
}

func start(log string, name string, args ...string) (*process, error) {
	out, err := os.OpenFile(log, os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		return nil, err
	}
	defer out.Close() // the child has its own
	cmd := exec.Command(name, args...)
	cmd.Stdout, cmd.Stderr = out, out
	p := &process{cmd: cmd, ended: make(chan struct{})}
	if p.in, err = cmd.StdinPipe(); err != nil {
		return nil, err
	}
	if err := cmd.Start(); err != nil {
		return nil, err
	}
	go func() {
		_ = cmd.Wait() // how it ended is in its log
		close(p.ended)
	}()
	return p, nil
}

func (p *process) running() bool {
	if p == nil {
		return false
	}
	select {
	case <-p.ended:
		return false
	default:
		return true
	}
}

func (p *process) signal(s syscall.Signal) error {
	if err := p.cmd.Process.Signal(s); err != nil && !errors.Is(err, os.ErrProcessDone) {
		return err
	}
	return nil
}

func (p *process) kill() error {
	if err := p.signal(syscall.SIGKILL); err != nil {
		return err
	}
	select {
	case <-p.ended:
		return nil
	case <-time.After(10 * time.Second):
		return errors.New("it is not gone 10 s after SIGKILL")
	}
}

func (n *Node) clockFile() string { return n.data + ".clock" }

// Clock has a node's wall clock be wrong; the zero fault has it be right. Use it where the lab has clocks.
func (n *Node) Clock(f clock.Fault) error { return clock.Write(n.clockFile(), f) }

func (n *Node) logFile() string { return n.data + ".log" }

// Start starts a node's process.
func (n *Node) Start() error {
	if n.Running() {
		return fmt.Errorf("node %d runs already", n.Number)
	}
	var others []string
	for _, o := range n.lab.Nodes {
		if o != n {
			others = append(others, o.Gossip)
		}
	}
	args := append([]string{
		n.lab.Binary, "server", "--data", n.data, "--listen", n.API, "--peer-listen", n.Peer, "--gossip-listen", n.Gossip,
		"--join", strings.Join(others, ","), "--bootstrap-expect", fmt.Sprint(n.lab.Config.Nodes), "--cluster-secret-file", n.lab.secret(),
		"--insecure", "--log-level", "warn", "--until-stdin-ends",
	}, n.lab.Args...)
	if n.hold != nil {
		args = append(n.hold.enter(), args...)
	}
	args = append([]string{"env", clock.File + "=" + n.clockFile()}, args...)
	p, err := start(n.logFile(), args[0], args[1:]...)
	if err != nil {
		return fmt.Errorf("start node %d: %w", n.Number, err)
	}
	n.process = p
	return nil
}

// Running says whether a node's process is there; a stopped one is. It may be called from any goroutine that does not
// race with Start.
func (n *Node) Running() bool { return n.process.running() }

// Kill ends a node's process with SIGKILL and waits for it.
func (n *Node) Kill() error {
	if err := n.process.kill(); err != nil {
		return fmt.Errorf("kill node %d: %w", n.Number, err)
	}
	return nil
}

// Stop asks a node's process to end, and waits for it.
func (n *Node) Stop() error {
	if err := n.process.signal(syscall.SIGTERM); err != nil {
		return fmt.Errorf("stop node %d: %w", n.Number, err)
	}
	select {
	case <-n.process.ended:
		return nil
	case <-time.After(15 * time.Second):
		return errors.Join(fmt.Errorf("stop node %d: it is not gone 15 s after SIGTERM", n.Number), n.Kill())
	}
}

// Pause stops a node's process where it is.
func (n *Node) Pause() error { return n.process.signal(syscall.SIGSTOP) }

// Resume lets it go on.
func (n *Node) Resume() error { return n.process.signal(syscall.SIGCONT) }

// Worker is a process of the harness's own that the lab can stop.
type Worker struct {
	Name    string
	process *process
}

// StartWorker starts one; it should end when its standard input does.
func (l *Lab) StartWorker(name string, args ...string) (*Worker, error) {
	p, err := start(fmt.Sprintf("%s/%s.log", l.Dir, name), args[0], args[1:]...)
	if err != nil {
		return nil, fmt.Errorf("start worker %s: %w", name, err)
	}
	return &Worker{name, p}, nil
}

// Pause stops a worker where it is.
func (w *Worker) Pause() error { return w.process.signal(syscall.SIGSTOP) }

// Resume lets it go on.
func (w *Worker) Resume() error { return w.process.signal(syscall.SIGCONT) }

// Running says whether it is there.
func (w *Worker) Running() bool { return w.process.running() }

// Close ends it.
func (w *Worker) Close() error { return errors.Join(w.Resume(), w.process.kill()) }
