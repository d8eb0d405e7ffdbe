package local

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"
)

// child is a node that this process started.
type child struct {
	cmd   *exec.Cmd
	ended chan struct{}
	alive io.Closer // the server ends when this pipe does
}

// Start starts a node that outlives this process.
func (c *Cluster) Start(number int) error { return c.start(number, false) }

// StartAttached starts a node that ends at the latest when this process does, however it does.
func (c *Cluster) StartAttached(number int) error { return c.start(number, true) }

func (c *Cluster) start(number int, attached bool) error {
	n, err := c.Node(number)
	if err != nil {
		return err
	}
	if c.Running(number) {
		return fmt.Errorf("node %d runs already", number)
	}
	log, err := os.OpenFile(c.Log(number), os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		return fmt.Errorf("start node %d: %w", number, err)
	}
	defer log.Close() // the child has its own
	args := c.arguments(n)
	if attached {
		args = append(args, "--until-stdin-ends")
	}
	cmd := exec.Command(c.Binary, args...)
	cmd.Stdout, cmd.Stderr = log, log
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	started := &child{cmd: cmd, ended: make(chan struct{}), alive: io.NopCloser(nil)}
	if attached {
		if started.alive, err = cmd.StdinPipe(); err != nil {
			return fmt.Errorf("start node %d: %w", number, err)
		}
	}
	if err := cmd.Start(); err != nil {
		return fmt.Errorf("start node %d: %w", number, err)
	}
	// Ends with the node.
	go func() {
		_ = cmd.Wait() // how it ended is in its log
		close(started.ended)
	}()
	c.children[number] = started
	if err := os.WriteFile(c.pidFile(number), []byte(strconv.Itoa(cmd.Process.Pid)+"\n"), 0o600); err != nil {
		return fmt.Errorf("start node %d: %w", number, err)
	}
	return nil
}

// PID is a node's process; zero when it does not run.
func (c *Cluster) PID(number int) int {
	if started := c.children[number]; started != nil {
		select {
		case <-started.ended:
			return 0
		default:
			return started.cmd.Process.Pid
		}
	}
	b, err := os.ReadFile(c.pidFile(number))
	if err != nil {
		return 0
	}
	pid, err := strconv.Atoi(strings.TrimSpace(string(b)))
	if err != nil || syscall.Kill(pid, 0) != nil || !c.ours(pid, number) {
		return 0
	}
	return pid
}

// ours says whether the process is still the node that the pid file was written for: numbers are used again.
func (c *Cluster) ours(pid, number int) bool {
	line, err := os.ReadFile(filepath.Join("/proc", strconv.Itoa(pid), "cmdline"))
	if errors.Is(err, os.ErrNotExist) {
		_, noProc := os.Stat("/proc/self")
		return noProc != nil // a system without /proc cannot tell
	}
	return err == nil && bytes.Contains(line, []byte(c.Data(number)+"\x00"))
}

// Running says whether a node's process is there; a paused one is.
func (c *Cluster) Running(number int) bool { return c.PID(number) != 0 }

// State is a word for people: running, paused or down.
func (c *Cluster) State(number int) string {
	pid := c.PID(number)
	if pid == 0 {
		return "down"
	}
	stat, err := os.ReadFile(filepath.Join("/proc", strconv.Itoa(pid), "stat"))
	if err == nil {
		// pid (name) state ...
		if _, rest, found := bytes.Cut(stat, []byte(") ")); found && len(rest) > 0 && rest[0] == 'T' {
			return "paused"
		}
	}
	return "running"
}

// Kill ends a node's process with SIGKILL, and waits until it is gone.
func (c *Cluster) Kill(number int) error {
	if err := c.mustRun(number); err != nil {
		return err
	}
	if err := c.signal(number, syscall.SIGKILL); err != nil {
		return err
	}
	if !c.await(number, time.Now().Add(5*time.Second)) {
		return fmt.Errorf("node %d is not gone 5 s after SIGKILL", number)
	}
	return nil
}

// Pause stops a node's process where it is, with SIGSTOP, and returns when it stands.
func (c *Cluster) Pause(number int) error {
	if err := c.mustRun(number); err != nil {
		return err
	}
	if err := c.signal(number, syscall.SIGSTOP); err != nil {
		return err
	}
	for end := time.Now().Add(5 * time.Second); c.State(number) != "paused"; time.Sleep(time.Millisecond) {
		if time.Now().After(end) {
			return fmt.Errorf("node %d does not stand 5 s after SIGSTOP", number)
		}
	}
	return nil
}

// Resume lets a paused node go on.
func (c *Cluster) Resume(number int) error {
	if err := c.mustRun(number); err != nil {
		return err
	}
	return c.signal(number, syscall.SIGCONT)
}

func (c *Cluster) mustRun(number int) error {
	if _, err := c.Node(number); err != nil {
		return err
	}
	if !c.Running(number) {
		return fmt.Errorf("node %d does not run; start it with `lockstep cluster up`", number)
	}
	return nil
}

// signal is nothing when the node does not run.
func (c *Cluster) signal(number int, s syscall.Signal) error {
	pid := c.PID(number)
	if pid == 0 {
		return nil
	}
	if err := syscall.Kill(pid, s); err != nil && !errors.Is(err, syscall.ESRCH) {
		return fmt.Errorf("signal node %d: %w", number, err)
	}
	return nil
}

// await says whether the node is gone by the limit.
func (c *Cluster) await(number int, limit time.Time) bool {
	if started := c.children[number]; started != nil {
		timer := time.NewTimer(time.Until(limit))
		defer timer.Stop()
		select {
		case <-started.ended:
			_ = started.alive.Close() // Wait closed it
			return true
		case <-timer.C:
			return false
		}
	}
	for c.Running(number) {
		if time.Now().After(limit) {
			return false
		}
		time.Sleep(20 * time.Millisecond) // it is not our child: it can only be asked after
	}
	return true
}
