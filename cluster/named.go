package cluster

import (
	"io"

	"github.com/hashicorp/raft"
)

// named is a network transport that says to whom it speaks, and not only where: raft identifies members by the address
// that their calls go to, and a node whose disk was lost, and with it its log and its votes, comes back at the address
// of the member that it was.
type named struct{ *raft.NetworkTransport }

func at(id raft.ServerID, target raft.ServerAddress) raft.ServerAddress {
	return raft.ServerAddress(string(id) + "@" + string(target))
}

// AppendEntries implements raft.Transport.
func (n named) AppendEntries(id raft.ServerID, target raft.ServerAddress, args *raft.AppendEntriesRequest, resp *raft.AppendEntriesResponse) error {
	return n.NetworkTransport.AppendEntries(id, at(id, target), args, resp)
}

// RequestVote implements raft.Transport.
func (n named) RequestVote(id raft.ServerID, target raft.ServerAddress, args *raft.RequestVoteRequest, resp *raft.RequestVoteResponse) error {
	return n.NetworkTransport.RequestVote(id, at(id, target), args, resp)
}

// RequestPreVote implements raft.WithPreVote.
func (n named) RequestPreVote(id raft.ServerID, target raft.ServerAddress, args *raft.RequestPreVoteRequest, resp *raft.RequestPreVoteResponse) error {
	return n.NetworkTransport.RequestPreVote(id, at(id, target), args, resp)
}

// InstallSnapshot implements raft.Transport.
func (n named) InstallSnapshot(id raft.ServerID, target raft.ServerAddress, args *raft.InstallSnapshotRequest, resp *raft.InstallSnapshotResponse, data io.Reader) error {
	return n.NetworkTransport.InstallSnapshot(id, at(id, target), args, resp, data)
}

// TimeoutNow implements raft.Transport.
func (n named) TimeoutNow(id raft.ServerID, target raft.ServerAddress, args *raft.TimeoutNowRequest, resp *raft.TimeoutNowResponse) error {
	return n.NetworkTransport.TimeoutNow(id, at(id, target), args, resp)
}
