package sim

import (
	"encoding/binary"
	"maps"
	"slices"

	"google.golang.org/protobuf/proto"

	v1 "github.com/lockstep-dev/lockstep/proto/gen/lockstep/v1"
)

// Sums tell answers and events apart. Those of what comes most often are written out by hand, for a simulation sums
// millions; TestEveryFieldCounts finds a field that they leave out.

// mixed adds a number to a sum.
func mixed(h, v uint64) uint64 {
	h = (h ^ v) * 0x9e3779b97f4a7c15
	return h ^ h>>29
}

// hashed adds bytes, and how many.
func hashed(h uint64, b []byte) uint64 {
	h = mixed(h, uint64(len(b)))
	for ; len(b) >= 8; b = b[8:] {
		h = mixed(h, binary.LittleEndian.Uint64(b))
	}
	if len(b) == 0 {
		return h
	}
	var rest [8]byte
	copy(rest[:], b)
	return mixed(h, binary.LittleEndian.Uint64(rest[:]))
}

func hashedText(h uint64, s string) uint64 {
	h = mixed(h, uint64(len(s)))
	for ; len(s) >= 8; s = s[8:] {
		h = mixed(h, uint64(s[0])|uint64(s[1])<<8|uint64(s[2])<<16|uint64(s[3])<<24|uint64(s[4])<<32|uint64(s[5])<<40|uint64(s[6])<<48|uint64(s[7])<<56)
	}
	var v uint64
	for i := range len(s) {
		v |= uint64(s[i]) << (8 * i)
	}
	return mixed(h, v)
}

func flags(list ...bool) (v uint64) {
	for i, yes := range list {
		if yes {
			v |= 1 << i
		}
	}
	return v
}

// message sums what is not written out, by its bytes.
func (h *history) message(m proto.Message) uint64 {
	h.buffer, _ = proto.MarshalOptions{Deterministic: true}.MarshalAppend(h.buffer[:0], m) // messages of ours always encode
	return hashed(1, h.buffer)
}

// sum is of all that an answer says.
func (h *history) sum(reply proto.Message, refusal *v1.Refusal) uint64 {
	switch r := reply.(type) {
	case nil:
	case *v1.KeepAliveResponse:
		if refusal == nil {
			return renewed(r)
		}
	case *v1.PollStepsResponse:
		if refusal == nil && len(r.Runs) == 0 {
			return 3
		}
	}
	switch {
	case refusal != nil:
		return mixed(2, h.message(refusal))
	case reply != nil:
		return h.message(reply)
	}
	return 0
}

func renewed(r *v1.KeepAliveResponse) uint64 {
	if r == nil {
		return 4
	}
	s := mixed(5, uint64(r.Ttl.GetSeconds()))
	s = mixed(s, uint64(r.Ttl.GetNanos()))
	for _, list := range [][]int64{r.Cancelled, r.Lost} {
		s = mixed(s, uint64(len(list)))
		for _, token := range list {
			s = mixed(s, uint64(token))
		}
	}
	return s
}

// eventSum is of all that an event says.
func eventSum(e *v1.Event) uint64 {
	s := mixed(6, uint64(e.Position))
	s = mixed(mixed(s, uint64(e.Time.GetSeconds())), uint64(e.Time.GetNanos()))
	for _, text := range [...]string{e.Namespace, e.Type, e.Subject, e.CorrelationId, e.CausationId, e.Traceparent} {
		s = hashedText(s, text)
	}
	if a := e.Author; a != nil {
		for _, text := range [...]string{a.Principal, a.Kind, a.OnBehalfOf} {
			s = hashedText(s, text)
		}
		s = mixed(s, flags(true, a.Verified))
	}
	d := e.Data
	if d == nil {
		return s
	}
	for _, text := range [...]string{d.InstanceId, d.Workflow, d.Step, d.SessionId, d.Queue, d.Lock, d.Code, d.Reason, d.Name, d.OtherInstance, d.OtherStep, d.KeyName, d.KeyValue, d.FairnessKey, d.LimitKey, d.ForkedFrom, d.Bulk, d.Retention, d.Reporter, d.Observation, d.Observed, d.Drift, d.Plan} {
		s = hashedText(s, text)
	}
	for _, v := range [...]int64{
		int64(d.Version), int64(d.Index), int64(d.Attempt), d.Token, d.PayloadSize, d.Delay, int64(d.Used), int64(d.Take), int64(d.Slot),
		d.Due.GetSeconds(), int64(d.Due.GetNanos()), d.Lag, int64(d.OtherIndex), int64(d.Count),
		int64(d.Limit), d.Per, d.Changed, d.Refused, d.Removed, d.Through,
	} {
		s = mixed(s, uint64(v))
	}
	s = mixed(s, uint64(len(d.Instances)))
	for _, id := range d.Instances {
		s = hashedText(s, id)
	}
	s = hashed(s, d.PayloadDigest)
	for _, key := range slices.Sorted(maps.Keys(d.Labels)) {
		s = hashedText(hashedText(s, key), d.Labels[key])
	}
	return mixed(s, flags(true, d.Shared, d.Late))
}
