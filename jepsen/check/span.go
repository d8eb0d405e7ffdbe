package check

import "time"

// spans bounds the time that passed between two events, by the harness's clock alone: an operation was asked before its event, and answered
// behind it, and events are in one order. The uptime in which timers and timeouts count never runs ahead of that clock.
type spans struct {
	asked    []time.Duration // by position: when the newest of what had happened by then was asked
	answered []time.Duration // by position: when the first of what happened later was answered
}

// never stands for an answer that nobody had.
const never = time.Duration(1<<63 - 1)

func newSpans(ops []*Op, events []Event) spans {
	s := spans{make([]time.Duration, len(events)+2), make([]time.Duration, len(events)+2)}
	for i := range s.answered {
		s.answered[i] = never
	}
	at := positions(events)
	for _, op := range ops {
		key, leaves := op.caused()
		p := at[key]
		if !leaves || p == 0 || p > int64(len(events)) || op.Outcome != OK {
			continue
		}
		s.answered[p-1] = min(s.answered[p-1], op.Return)
		if !op.retold() { // what was told again may have happened before it was asked
			s.asked[p] = max(s.asked[p], op.Invoke)
		}
	}
	for i := 1; i < len(s.asked); i++ {
		s.asked[i] = max(s.asked[i], s.asked[i-1])
	}
	for i := len(s.answered) - 2; i >= 0; i-- {
		s.answered[i] = min(s.answered[i], s.answered[i+1])
	}
	return s
}

// most is the longest that it can have been from one position of the feed to another.
func (s spans) most(from, to int64) time.Duration {
	if s.answered[to] == never {
		return never
	}
	return s.answered[to] - s.asked[from]
}
