// Package local runs a cluster as processes of this machine: for development, for the demo and for tests. Everything
// that it knows is in its directory, so that one command can start what another one stops.
package local

import (
	"crypto/rand"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"time"
)

// Node is one server of a cluster, numbered from 1.
type Node struct {
	Number int    `json:"number"`
	API    string `json:"api"`
	Peer   string `json:"peer"`
	Gossip string `json:"gossip"`
}

// Cluster is what the directory says of it. It is used from one goroutine.
type Cluster struct {
	Dir string `json:"-"`
	// Binary is the lockstep that runs the nodes.
	Binary string   `json:"binary"`
	Nodes  []Node   `json:"nodes"`
	Args   []string `json:"args,omitempty"`

	children map[int]*child
}

// Config of a new cluster.
type Config struct {
	Dir, Binary string
	// Size is 1, 3 or 5.
	Size int
	// BasePort numbers the ports from there; zero finds free ones, at a loopback host of the cluster's own.
	BasePort int
	// Args are given to every server.
	Args []string
}

// File of the directory that describes the cluster.
const File = "cluster.json"

// Create writes down a new cluster. It starts nothing. A directory that has one already is refused.
func Create(c Config) (*Cluster, error) {
	if c.Size != 1 && c.Size != 3 && c.Size != 5 {
		return nil, fmt.Errorf("a cluster has 1, 3 or 5 nodes, not %d", c.Size)
	}
	dir, err := filepath.Abs(c.Dir)
	if err != nil {
		return nil, fmt.Errorf("create cluster: %w", err)
	}
	if _, err := os.Stat(filepath.Join(dir, File)); err == nil {
		return nil, fmt.Errorf("%s has a cluster already; start it with `lockstep cluster up --dir %s`, or remove the directory", dir, c.Dir)
	}
	at, err := Addresses(3*c.Size, c.BasePort)
	if err != nil {
		return nil, err
	}
	cluster := &Cluster{Dir: dir, Binary: c.Binary, Args: c.Args, children: map[int]*child{}}
	for n := range c.Size {
		cluster.Nodes = append(cluster.Nodes, Node{Number: n + 1, API: at[3*n], Peer: at[3*n+1], Gossip: at[3*n+2]})
	}
	return cluster, cluster.write()
}

func (c *Cluster) write() error {
	if err := os.MkdirAll(c.Dir, 0o700); err != nil {
		return fmt.Errorf("create cluster: %w", err)
	}
	secret := make([]byte, 32)
	rand.Read(secret)
	if err := os.WriteFile(c.secret(), []byte(hex.EncodeToString(secret)+"\n"), 0o600); err != nil {
		return fmt.Errorf("create cluster: %w", err)
	}
	b, err := json.MarshalIndent(c, "", "  ")
	if err != nil {
		return fmt.Errorf("create cluster: %w", err)
	}
	if err := os.WriteFile(filepath.Join(c.Dir, File), append(b, '\n'), 0o600); err != nil {
		return fmt.Errorf("create cluster: %w", err)
	}
	return nil
}

// Open reads a cluster that Create wrote.
func Open(dir string) (*Cluster, error) {
	whole, err := filepath.Abs(dir)
	if err != nil {
		return nil, fmt.Errorf("open cluster: %w", err)
	}
	b, err := os.ReadFile(filepath.Join(whole, File))
	if errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("there is no cluster in %s; make one with `lockstep cluster up --dir %s`", whole, dir)
	}
	if err != nil {
		return nil, fmt.Errorf("open cluster: %w", err)
	}
	c := &Cluster{Dir: whole, children: map[int]*child{}}
	if err := json.Unmarshal(b, c); err != nil {
		return nil, fmt.Errorf("open cluster: %s is damaged: %w", filepath.Join(whole, File), err)
	}
	return c, nil
}

// APIs are the addresses of all nodes.
func (c *Cluster) APIs() []string {
	var out []string
	for _, n := range c.Nodes {
		out = append(out, n.API)
	}
	return out
}

// Node finds a node by its number.
func (c *Cluster) Node(number int) (Node, error) {
	if number < 1 || number > len(c.Nodes) {
		return Node{}, fmt.Errorf("there is no node %d; they are numbered from 1 to %d", number, len(c.Nodes))
	}
	return c.Nodes[number-1], nil
}

func (c *Cluster) secret() string { return filepath.Join(c.Dir, "secret") }

// Log is the file that a node's process logs to.
func (c *Cluster) Log(number int) string {
	return filepath.Join(c.Dir, fmt.Sprintf("node-%d.log", number))
}

// Data is a node's data directory.
func (c *Cluster) Data(number int) string {
	return filepath.Join(c.Dir, fmt.Sprintf("node-%d", number))
}

func (c *Cluster) pidFile(number int) string {
	return filepath.Join(c.Dir, fmt.Sprintf("node-%d.pid", number))
}

// arguments of a node's server.
func (c *Cluster) arguments(n Node) []string {
	var others []string
	for _, other := range c.Nodes {
		if other.Number != n.Number {
			others = append(others, other.Gossip)
		}
	}
	args := []string{
		"server", "--data", c.Data(n.Number), "--node-id", fmt.Sprintf("node-%d", n.Number),
		"--listen", n.API, "--peer-listen", n.Peer, "--gossip-listen", n.Gossip,
		"--bootstrap-expect", fmt.Sprint(len(c.Nodes)), "--cluster-secret-file", c.secret(),
	}
	if len(others) > 0 {
		args = append(args, "--join", strings.Join(others, ","))
	}
	return append(args, c.Args...)
}

// Down ends every node, the last of them after the others, and waits for each.
func (c *Cluster) Down(grace time.Duration) error {
	var errs []error
	for _, n := range c.Nodes {
		// A paused node could not act on SIGTERM.
		errs = append(errs, c.signal(n.Number, syscall.SIGCONT), c.signal(n.Number, syscall.SIGTERM))
	}
	limit := time.Now().Add(grace)
	for _, n := range c.Nodes {
		if !c.await(n.Number, limit) {
			errs = append(errs, c.signal(n.Number, syscall.SIGKILL))
			c.await(n.Number, time.Now().Add(time.Second))
		}
	}
	return errors.Join(errs...)
}
