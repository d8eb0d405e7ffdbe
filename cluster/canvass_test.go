package cluster

import (
	"errors"
	"testing"
	"testing/synctest"
	"time"

	"github.com/hashicorp/raft"
)

// voter answers pre-votes in turn, and then repeats itself.
type voter struct {
	raft.Transport
	answers []raft.RequestPreVoteResponse
	err     error
	asked   int
}

func (v *voter) RequestPreVote(_ raft.ServerID, _ raft.ServerAddress, _ *raft.RequestPreVoteRequest, resp *raft.RequestPreVoteResponse) error {
	*resp = v.answers[min(v.asked, len(v.answers)-1)]
	v.asked++
	return v.err
}

func lost(id string, term, index uint64) raft.RequestPreVoteRequest {
	return raft.RequestPreVoteRequest{RPCHeader: raft.RPCHeader{ID: []byte(id)}, LastLogTerm: term, LastLogIndex: index}
}

// Who refused is asked again once it campaigns with less of a log, and at no other time; nobody waits beyond the campaign.
func TestAPreVoteIsAskedForAgain(t *testing.T) {
	no, yes := raft.RequestPreVoteResponse{Term: 7}, raft.RequestPreVoteResponse{Term: 7, Granted: true}
	const limit, after = 2 * time.Second, 200 * time.Millisecond
	for name, x := range map[string]struct {
		answers []raft.RequestPreVoteResponse
		err     error
		rival   raft.RequestPreVoteRequest // campaigns after a while
		asked   int
		took    time.Duration
	}{
		"lacks an entry":      {[]raft.RequestPreVoteResponse{no, yes}, nil, lost("b", 7, 99), 2, after},
		"lacks a term":        {[]raft.RequestPreVoteResponse{no, yes}, nil, lost("b", 6, 120), 2, after},
		"refuses again":       {[]raft.RequestPreVoteResponse{no, no}, nil, lost("b", 7, 99), 2, after},
		"lacks nothing":       {[]raft.RequestPreVoteResponse{no}, nil, lost("b", 7, 100), 1, limit},
		"has more":            {[]raft.RequestPreVoteResponse{no}, nil, lost("b", 8, 99), 1, limit},
		"is another":          {[]raft.RequestPreVoteResponse{no}, nil, lost("c", 7, 99), 1, limit},
		"granted at once":     {[]raft.RequestPreVoteResponse{yes}, nil, lost("b", 7, 99), 1, 0},
		"is in a newer term":  {[]raft.RequestPreVoteResponse{{Term: 9}}, nil, lost("b", 7, 99), 1, 0},
		"cannot be asked now": {[]raft.RequestPreVoteResponse{{}}, errors.New("cut off"), lost("b", 7, 99), 1, 0},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				v := &voter{answers: x.answers, err: x.err}
				p := newPeers(v, newCanvass(limit/2), nil)
				began := time.Now()
				time.AfterFunc(after, func() { p.canvass.hears(x.rival) })
				var resp raft.RequestPreVoteResponse
				err := p.RequestPreVote("b", "peer-b", &raft.RequestPreVoteRequest{Term: 8, LastLogTerm: 7, LastLogIndex: 100}, &resp)
				if took := time.Since(began); !errors.Is(err, x.err) || v.asked != x.asked || took != x.took {
					t.Errorf("asked %d times in %s: %v", v.asked, took, err)
				}
				if want := x.answers[len(x.answers)-1]; resp.Granted != want.Granted || resp.Term != want.Term {
					t.Errorf("got %+v, want %+v", resp, want)
				}
				time.Sleep(time.Second)
			})
		})
	}
}

// A node that shuts down waits for no campaign.
func TestACanvassEndsWithItsNode(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := newPeers(&voter{answers: []raft.RequestPreVoteResponse{{Term: 7}}}, newCanvass(time.Hour), nil)
		began := time.Now()
		time.AfterFunc(time.Second, p.ends)
		var resp raft.RequestPreVoteResponse
		if err := p.RequestPreVote("b", "peer-b", &raft.RequestPreVoteRequest{Term: 8}, &resp); err != nil || time.Since(began) != time.Second {
			t.Errorf("ended after %s: %v", time.Since(began), err)
		}
	})
}
