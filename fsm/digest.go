package fsm

import (
	"crypto/sha256"
	"encoding/hex"
	"slices"

	v1 "github.com/lockstep-dev/lockstep/proto/gen/lockstep/v1"
)

// recentDigests is how many are kept for GetStatus.
const recentDigests = 64

// sliceTag stands between an entry's events and a slice of the state: no event begins with it.
const sliceTag = 0xff

// seal extends the digest chain by the entry's events, and at a checkpoint by a slice of the state: the chain's value
// at an index tells every fact up to it.
func (m *Machine) seal(t *turn) {
	g := m.group
	if len(t.events)+len(t.slice) > 0 {
		h := sha256.New()
		h.Write(g.Digest)
		h.Write(t.events)
		if len(t.slice) > 0 {
			h.Write([]byte{sliceTag})
			h.Write(t.slice)
		}
		g.Digest = h.Sum(nil)
		g.RecentIndex, g.RecentDigest = newest(g.RecentIndex, g.RecentDigest, t.index, g.Digest, recentDigests)
	}
	if t.checkpoint {
		g.CheckpointIndex, g.CheckpointDigest = newest(g.CheckpointIndex, g.CheckpointDigest, t.index, g.Digest, recentCheckpoints)
	}
}

// newest adds to the digests that are kept, and lets the oldest go.
func newest(indices []uint64, digests [][]byte, index uint64, digest []byte, limit int) ([]uint64, [][]byte) {
	indices, digests = append(indices, index), append(digests, digest)
	if extra := len(indices) - limit; extra > 0 {
		indices, digests = slices.Delete(indices, 0, extra), slices.Delete(digests, 0, extra)
	}
	return indices, digests
}

// Digest returns the digest of every fact up to the applied index.
func (m *Machine) Digest() (index uint64, digest []byte) {
	m.mu.RLock()
	defer m.mu.RUnlock()
	return m.group.Index, slices.Clone(m.group.Digest)
}

// Digests returns the newest digests by the index that made them, oldest first, and last that of the applied index.
func (m *Machine) Digests() []*v1.DigestAt {
	m.mu.RLock()
	defer m.mu.RUnlock()
	g := m.group
	out := make([]*v1.DigestAt, 0, len(g.RecentIndex)+1)
	for i, index := range g.RecentIndex {
		out = append(out, &v1.DigestAt{Index: index, Digest: hex.EncodeToString(g.RecentDigest[i])})
	}
	return append(out, &v1.DigestAt{Index: g.Index, Digest: hex.EncodeToString(g.Digest)})
}

// payloadDigest is what events carry of a payload: salted by the proposer, so that bytes and salt can be erased. It is good until the
// next one.
func (t *turn) payloadDigest(p *v1.Payload) []byte {
	if p == nil {
		return nil
	}
	m := t.m
	m.scratch = append(append(m.scratch[:0], t.salt()...), p.Bytes...)
	m.sum = sha256.Sum256(m.scratch)
	return m.sum[:]
}

func (t *turn) salt() []byte {
	if t.env == nil {
		return nil
	}
	return t.env.Salt
}
