package sound

// upstream has, for each node of a scope, a bit for every node that it waits for, however far.
type upstream struct {
	first int
	bits  [][]uint64
}

func (u *upstream) has(node, up int) bool { return isSet(u.bits[node-u.first], up-u.first) }

func isSet(bits []uint64, at int) bool { return bits != nil && bits[at/64]&(1<<(at%64)) != 0 }

func set(bits []uint64, at int) { bits[at/64] |= 1 << (at % 64) }

func union(to, from []uint64) {
	for w, b := range from {
		to[w] |= b
	}
}

// upstreamOf wants the nodes of a scope in order.
func (m *model) upstreamOf(scope int, order []int) *upstream {
	s := m.g.Scopes[scope]
	u := &upstream{first: s.First, bits: make([][]uint64, s.Count)}
	for _, node := range order {
		if len(m.steps[node].needs) == 0 {
			continue
		}
		bits := make([]uint64, (s.Count+63)/64)
		for k := range m.steps[node].needs {
			from := m.steps[node].needs[k].from
			set(bits, from-s.First)
			union(bits, u.bits[from-s.First])
		}
		u.bits[node-s.First] = bits
	}
	return u
}

// completedBefore has, for each node of a scope, a bit for nodes that have completed whenever it is begun: not for all of those, but for
// the many that follow from plain needs.
func (m *model) completedBefore(scope int, order []int) *upstream {
	s := m.g.Scopes[scope]
	words := (s.Count + 63) / 64
	u := &upstream{first: s.First, bits: make([][]uint64, s.Count)}
	behind := make([]uint64, words)
	for _, node := range order {
		st := &m.steps[node]
		if len(st.needs) == 0 {
			continue
		}
		bits, any := make([]uint64, words), make([]uint64, words)
		for k := range st.needs {
			n := &st.needs[k]
			clear(behind)
			union(behind, u.bits[n.from-s.First])
			if n.met == completes {
				set(behind, n.from-s.First)
			}
			switch { // it is begun behind one that is met, whichever; and when all are needed, behind those that are not skipped
			case k == 0:
				copy(any, behind)
			default:
				for w := range any {
					any[w] &= behind[w]
				}
			}
			if st.want == 0 && m.steps[n.from].can&n.neutral == none {
				union(bits, behind)
			}
		}
		union(bits, any)
		u.bits[node-s.First] = bits
	}
	return u
}

// unions is what it takes to make one of these, in looks: a word of bits is less than one.
func (m *model) unions(scope int, order []int) int {
	needs := len(order)
	for _, node := range order {
		needs += len(m.steps[node].needs)
	}
	return needs * (1 + m.g.Scopes[scope].Count/64/8)
}
