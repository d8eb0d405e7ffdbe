package cluster

import (
	"context"
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"sync"
	"time"

	"github.com/hashicorp/raft"

	"github.com/lockstep-dev/lockstep/fsm"
)

// told is what nodes exchange: a node tells its checkpoints, and is told the other's. So a node that stops for what it
// heard has been heard by whom it heard.
type told struct {
	Group       string           `json:"group"`
	Node        string           `json:"node"`
	Checkpoints []fsm.Checkpoint `json:"checkpoints"`
	// Asks is of a follower that asks the leader how far it is; State is the answer.
	Asks  bool     `json:"asks,omitempty"`
	State *stateAt `json:"state,omitempty"`
	// Level is the newest cluster level that the node knows, in each answer. A version before level 5 does not say.
	Level uint32 `json:"level,omitempty"`
}

// Exchange is what another node's Config.Exchange calls.
func (n *Node) Exchange(request []byte) ([]byte, error) {
	if err := n.Err(); err != nil {
		return nil, err
	}
	var other told
	if err := json.Unmarshal(request, &other); err != nil {
		return nil, fmt.Errorf("exchange checkpoints: %w", err)
	}
	g := n.groups[other.Group]
	if g == nil {
		return nil, fmt.Errorf("exchange checkpoints: there is no group %q", other.Group)
	}
	if other.Asks {
		state, err := g.tellState()
		if err != nil {
			return nil, err
		}
		return json.Marshal(told{Group: g.id, Node: g.node, State: state, Level: g.config.level})
	}
	g.hear(other)
	return json.Marshal(told{Group: g.id, Node: g.node, Checkpoints: g.checkpoints(), Level: g.config.level})
}

// ask tells another node something, and returns what it answers.
func (g *group) ask(ctx context.Context, address raft.ServerAddress, what told) (answer told, err error) {
	what.Group, what.Node = g.id, g.node
	request, err := json.Marshal(what)
	if err != nil {
		return told{}, err
	}
	reply, err := g.config.Exchange(ctx, string(address), request)
	if err != nil {
		return told{}, err
	}
	return answer, json.Unmarshal(reply, &answer)
}

func (g *group) checkpoints() (own []fsm.Checkpoint) {
	_ = g.machine.view(func(m *fsm.Machine) error { own = m.Checkpoints(); return nil }) // the function returns none
	return own
}

func (g *group) hear(other told) {
	if len(other.Checkpoints) == 0 {
		return
	}
	g.comparing.Lock()
	defer g.comparing.Unlock()
	g.compared.heard[other.Node] = other.Checkpoints
}

// compareStates exchanges checkpoints with the voters, while there are new ones, and ends the node if it must not go on.
func (g *group) compareStates(ctx context.Context) (again bool) {
	d := g.compareOnce(ctx)
	switch {
	case d == nil:
		return true
	case g.config.diverged == nil:
		g.fail(d)
	default:
		g.config.diverged(d)
	}
	return false
}

// compareOnce exchanges checkpoints with those whose digests are missing, and judges.
func (g *group) compareOnce(ctx context.Context) *divergence {
	own, voters := g.checkpoints(), g.voters()
	ids := make([]string, len(voters))
	for i, s := range voters {
		ids[i] = string(s.ID)
	}
	g.comparing.Lock()
	maps.DeleteFunc(g.compared.heard, func(id string, _ []fsm.Checkpoint) bool { return !slices.Contains(ids, id) })
	missing := g.compared.missing(own, ids)
	g.comparing.Unlock()
	var asked sync.WaitGroup
	for _, s := range voters {
		if slices.Contains(missing, string(s.ID)) {
			asked.Go(func() { g.exchange(ctx, s, own) })
		}
	}
	asked.Wait()
	g.comparing.Lock()
	defer g.comparing.Unlock()
	return g.compared.judge(own, ids, time.Now())
}

// exchange tells a voter this node's checkpoints, and hears the voter's. Who does not answer now is asked again. Another
// node may have its address by then, and is heard as itself.
func (g *group) exchange(ctx context.Context, voter raft.Server, own []fsm.Checkpoint) {
	ctx, cancel := context.WithTimeout(ctx, g.config.CompareEvery)
	defer cancel()
	other, err := g.ask(ctx, voter.Address, told{Checkpoints: own})
	if err != nil {
		g.logger.Debug("exchange checkpoints", "voter", voter.ID, "error", err)
		return
	}
	g.hear(other)
}
