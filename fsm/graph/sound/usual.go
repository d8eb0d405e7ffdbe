package sound

// usually says how a node ends when everything goes well: what can complete does, conditions hold, and of a race the first wins. One
// such run shows of most steps that they run.
func (c *check) usually(node int) {
	st := &c.steps[node]
	met, passed, barred := 0, 0, 0
	for k := range st.needs {
		n := &st.needs[k]
		switch so := c.steps[n.from].usual; {
		case so == none:
		case so&n.met != 0:
			met++
			passed++
		case so&n.neutral != 0:
			passed++
		default:
			barred++
		}
	}
	total := len(st.needs)
	unmet := passed - met + barred
	switch {
	case st.want > 0 && met >= st.want, st.want == 0 && passed == total && (met > 0 || total == 0):
		c.usuallyRuns(node)
	case st.want > 0 && unmet > total-st.want, st.want == 0 && (barred > 0 || passed == total):
		st.usual = isSkipped
	}
}

func (c *check) usuallyRuns(node int) {
	st := &c.steps[node]
	for _, rival := range c.g.Nodes[node].Rivals {
		if c.steps[rival].usual == completes {
			st.usual = isSkipped
			return
		}
	}
	st.runs = true
	for _, of := range st.strict {
		if c.steps[of].usual != completes {
			return // it stands still
		}
	}
	for _, of := range st.turns {
		if c.steps[of].usual != completes {
			return // it fails
		}
	}
	if st.usual = st.can & completes; st.usual == none && st.skips {
		st.usual = isSkipped
	}
}

// narrow leaves out of what a node can do what its needs show to be impossible.
func (c *check) narrow(node int) {
	st := &c.steps[node]
	if !st.runs {
		st.can = isSkipped
		return
	}
	if st.skips || len(c.g.Nodes[node].Rivals) > 0 {
		return
	}
	unmet, neutral := 0, 0
	for k := range st.needs {
		n := &st.needs[k]
		can := c.steps[n.from].can
		if can&n.barring() != 0 && st.want == 0 {
			return
		}
		if can&^n.met != 0 {
			unmet++
		}
		if can&n.neutral != 0 {
			neutral++
		}
	}
	if st.want > 0 && unmet > len(st.needs)-st.want || st.want == 0 && neutral > 0 && neutral == len(st.needs) {
		return
	}
	st.can &^= isSkipped
}
