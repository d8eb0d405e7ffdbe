package cluster

import (
	"context"
	"errors"
	"os"
	"slices"
	"strconv"
	"sync"
	"time"

	"github.com/hashicorp/raft"
	"google.golang.org/protobuf/types/known/durationpb"

	"github.com/lockstep-dev/lockstep/fsm"
	logv1 "github.com/lockstep-dev/lockstep/proto/gen/lockstep/log/v1"
	v1 "github.com/lockstep-dev/lockstep/proto/gen/lockstep/v1"
)

// Node is a member of a cluster. Its methods are safe from any goroutine.
type Node struct {
	config   Config
	identity identity
	lock     *os.File
	groups   map[string]*group

	failOnce sync.Once
	failed   error
	done     chan struct{}
	marked   chan struct{} // closed when the reason stands in the data directory, or will not
	closing  sync.Once
	closed   error
}

// theGroup is the one group of today.
const theGroup = "0"

// Open opens a node, and refuses a data directory that is in use, another node's, or damaged. A new node does nothing
// until it is bootstrapped or added.
func Open(c Config) (*Node, error) {
	if err := c.Validate(); err != nil {
		return nil, err
	}
	n := &Node{config: c, groups: map[string]*group{}, done: make(chan struct{}), marked: make(chan struct{})}
	if err := n.openIdentity(); err != nil {
		return nil, err
	}
	g, err := openGroup(theGroup, n)
	if err != nil {
		return nil, errors.Join(err, n.unlock())
	}
	n.groups[theGroup] = g
	return n, nil
}

func (n *Node) openIdentity() (err error) {
	if n.config.DataDir == "" {
		n.identity = identity{Node: n.config.NodeID, Format: dataFormat}
		if n.identity.Node == "" {
			n.identity.Node = randomID("n")
		}
		return nil
	}
	if n.lock, err = lockDir(n.config.DataDir); err != nil {
		return err
	}
	if err = refuseDiverged(n.config.DataDir); err == nil {
		n.identity, err = readIdentity(n.config.DataDir, n.config.NodeID)
	}
	if err != nil {
		return errors.Join(err, n.unlock())
	}
	return nil
}

// logMade says whether the log of a group was ever made here.
func (n *Node) logMade(group string) bool { return slices.Contains(n.identity.Groups, group) }

// rememberLog notes that the log of a group was made, before anything is in it.
func (n *Node) rememberLog(group string) error {
	if n.logMade(group) {
		return nil
	}
	n.identity.Groups = append(n.identity.Groups, group)
	return writeIdentity(n.config.DataDir, n.identity)
}

func (n *Node) unlock() error {
	if n.lock == nil {
		return nil
	}
	return n.lock.Close()
}

// fail ends the node: the process must end with the error. Only the first counts. Done is heard before the mark is
// written, for a disk that does not answer must hold up nobody.
func (n *Node) fail(err error) {
	n.failOnce.Do(func() {
		n.failed = err
		close(n.done)
		if n.config.DataDir != "" {
			go func() {
				defer close(n.marked)
				markFailed(n.config.DataDir, err)
			}()
		} else {
			close(n.marked)
		}
	})
}

// Done is closed when the node cannot go on; Err says why. The process must end then: the node may hold a lock of the
// disk, or diverge.
func (n *Node) Done() <-chan struct{} { return n.done }

// Err returns why the node cannot go on; nil while it can.
func (n *Node) Err() error {
	select {
	case <-n.done:
		return n.failed
	default:
		return nil
	}
}

// Close hands leadership over, if this node has it, and closes everything. Of a node that cannot go on it closes nothing
// and returns the reason, once that stands in the data directory or half a second has passed: its disk may not answer,
// and the end of the process closes all.
func (n *Node) Close() error {
	if err := n.Err(); err != nil {
		<-n.marked
		return err
	}
	n.closing.Do(func() {
		var errs []error
		for _, g := range n.groups {
			errs = append(errs, g.close())
		}
		n.closed = errors.Join(append(errs, n.unlock())...)
	})
	return n.closed
}

// ID is the node's id.
func (n *Node) ID() string { return n.identity.Node }

// group finds the group that a namespace belongs to. There is one today, and nothing else may assume so.
func (n *Node) group(string) *group { return n.groups[theGroup] }

// Propose has a command applied, and returns its outcome. The error is a *fsm.Refusal (NO_LEADER and OVERLOADED:
// nothing happened; UNKNOWN_OUTCOME: it may have, or may yet) or the context's, which leaves it unknown too.
func (n *Node) Propose(ctx context.Context, command *logv1.Command) (fsm.Outcome, error) {
	outcomes, err := n.ProposeAll(ctx, []*logv1.Command{command})
	if err != nil {
		return fsm.Outcome{}, err
	}
	return outcomes[0], nil
}

// ProposeAll has commands of one namespace applied next to each other, in order; in one entry if they fit.
func (n *Node) ProposeAll(ctx context.Context, commands []*logv1.Command) ([]fsm.Outcome, error) {
	if len(commands) == 0 {
		return nil, nil
	}
	return n.group(commands[0].GetEnvelope().GetNamespace()).proposeAll(ctx, commands)
}

// Renew keeps a session alive. It is never refused for overload.
func (n *Node) Renew(ctx context.Context, r *logv1.Renewal) (fsm.RenewalOutcome, error) {
	return n.group(r.Namespace).renew(ctx, r)
}

// Await subscribes to the settlements of a wait: they come in their order, those that were not taken yet together. Subscribe
// before proposing; call cancel when done with it.
func (n *Node) Await(waitID uint64) (<-chan []fsm.Settlement, func()) {
	return n.group("").await(waitID)
}

// Read runs fn on a namespace's state: linearizable by default, on the leader only; or stale, on any node, with an
// upper bound of its age since this node last heard of the leader.
func (n *Node) Read(ctx context.Context, namespace string, c v1.Consistency, fn func(*fsm.Machine) error) (age time.Duration, err error) {
	return n.group(namespace).read(ctx, c, fn)
}

// Changed returns a channel that the namespace's next event closes. Take it before reading.
func (n *Node) Changed(namespace string) <-chan struct{} {
	if namespace == "" {
		namespace = fsm.DefaultNamespace
	}
	return n.group(namespace).changed.next(namespace)
}

// Leader returns the API address of a namespace's leader, empty when it is not known, and whether it is this node.
func (n *Node) Leader(namespace string) (api string, self bool) {
	return n.group(namespace).leaderAPI()
}

// LeaderChanged returns a channel that the next change of leadership seen here closes.
func (n *Node) LeaderChanged() <-chan struct{} { return n.group("").leader.next("") }

// Observe has fn told of what every entry did, on every node, and how long applying it took. It must not block. One
// function at a time.
func (n *Node) Observe(fn func(r fsm.Result, took time.Duration)) {
	for _, g := range n.groups {
		g.results.Store(&fn)
	}
}

// Status tells how the node is. It is never forwarded, and needs no leader.
func (n *Node) Status(digestIndex uint64) *v1.GetStatusResponse {
	out := &v1.GetStatusResponse{NodeId: n.identity.Node}
	for _, id := range [...]string{theGroup} {
		out.Groups = append(out.Groups, n.groups[id].status(digestIndex))
	}
	return out
}

func (g *group) status(digestIndex uint64) *v1.GroupStatus {
	stats := g.raft.Stats()
	number := func(name string) uint64 {
		v, err := strconv.ParseUint(stats[name], 10, 64)
		if err != nil {
			return 0
		}
		return v
	}
	_, leader := g.raft.LeaderWithID()
	api, _ := g.leaderAPI()
	s := &v1.GroupStatus{
		Group: g.id, State: stats["state"], Term: number("term"), LeaderId: string(leader), LeaderApi: api,
		CommitIndex: number("commit_index"), SnapshotIndex: number("last_snapshot_index"), LastLogIndex: number("last_log_index"),
	}
	s.FirstLogIndex, _ = g.log.FirstIndex() // zero when the log cannot be read, which ends the node elsewhere
	_ = g.machine.view(func(m *fsm.Machine) error {
		s.AppliedIndex, _ = m.Applied()
		s.FlushedIndex = m.Flushed()
		clock := m.Clock()
		s.Uptime, s.Level = durationpb.New(time.Duration(clock.Uptime)), clock.Level
		for _, d := range m.Digests() {
			if digestIndex == 0 || d.Index == digestIndex {
				s.Digests = append(s.Digests, d)
			}
		}
		return nil
	}) // the function returns none
	for _, server := range g.configuration() {
		s.Members = append(s.Members, &v1.Member{
			NodeId: string(server.ID), PeerAddress: string(server.Address), ApiAddress: g.config.APIAddress(string(server.ID)),
			Voter: server.Suffrage == raft.Voter, Leader: server.ID == leader,
		})
	}
	return s
}
