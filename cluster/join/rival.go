package join

import (
	"context"
	"fmt"
	"time"
)

// secondError says that this process is the second that goes by its id, and must end.
type secondError struct {
	id, address string
	upFor       time.Duration
}

func (e *secondError) Error() string {
	return fmt.Sprintf("node %s runs already, at %s for %s: this data directory is a copy, or this id was given twice; a copy cannot be a member, so start with an empty --data and no --node-id",
		e.id, e.address, e.upFor.Round(time.Second))
}

// giveWay looks at who gossip says goes by this node's id.
func (j *Joiner) giveWay(ctx context.Context) error {
	rival, found := j.config.Around.Rival()
	if !found || rival.PeerAddress == "" {
		return nil
	}
	return j.meet(ctx, rival.PeerAddress)
}

// meet asks who is at an address. Another process of this node's id that has run for longer stays, and this one must end;
// who does not answer, or is somebody else, or this process itself, is no rival.
func (j *Joiner) meet(ctx context.Context, address string) error {
	asking, cancel := context.WithTimeout(ctx, askLimit)
	defer cancel()
	it, err := j.config.Peers.Ask(asking, address)
	if err != nil || it.NodeID != j.config.NodeID || it.Process == j.process {
		return nil
	}
	upFor := time.Since(j.began)
	if it.UpFor > upFor || it.UpFor == upFor && it.Process > j.process {
		return &secondError{id: it.NodeID, address: address, upFor: it.UpFor}
	}
	return fmt.Errorf("another process goes by the id of this node, at %s, and has to end", address)
}
