package fsm

import (
	"crypto/sha256"
	"encoding/hex"
	"slices"

	v1 "github.com/lockstep-dev/lockstep/proto/gen/lockstep/v1"
)

// recentDigests is how many are kept for GetStatus.
const recentDigests = 64

// seal extends the digest chain by the entry's events: the chain's value at an index tells every fact up to it.
func (m *Machine) seal(t *turn) {
	if len(t.events) == 0 {
		return
	}
	g := m.group
	h := sha256.New()
	h.Write(g.Digest)
	h.Write(t.events)
	g.Digest = h.Sum(nil)
	g.RecentIndex = append(g.RecentIndex, t.index)
	g.RecentDigest = append(g.RecentDigest, g.Digest)
	if extra := len(g.RecentIndex) - recentDigests; extra > 0 {
		g.RecentIndex = slices.Delete(g.RecentIndex, 0, extra)
		g.RecentDigest = slices.Delete(g.RecentDigest, 0, extra)
	}
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

// payloadDigest is what events carry of a payload: salted by the proposer, so that bytes and salt can be erased.
func payloadDigest(salt []byte, p *v1.Payload) []byte {
	if p == nil {
		return nil
	}
	h := sha256.New()
	h.Write(salt)
	h.Write(p.Bytes)
	return h.Sum(nil)
}

func (t *turn) salt() []byte {
	if t.env == nil {
		return nil
	}
	return t.env.Salt
}
