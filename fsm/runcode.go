package fsm

import (
	"fmt"

	"github.com/lockstep-dev/lockstep/fsm/graph"
	"github.com/lockstep-dev/lockstep/jepsen/plant"
	logv1 "github.com/lockstep-dev/lockstep/proto/gen/lockstep/log/v1"
	v1 "github.com/lockstep-dev/lockstep/proto/gen/lockstep/v1"
)

// Runs, and their places in what orders them, are encoded as events are: each field that is set, as tag and value, in
// order, and a zero. So what is stored is canonical, and slices of the state take it as it is. A lock or an ended token
// begins with its name or number; the fields that follow are its.

func appendRun(b []byte, r *run) []byte {
	b = appendNumber(b, 1, int64(r.State))
	b = appendNumber(b, 3, int64(r.Attempt))
	b = appendNumber(b, 4, int64(r.Used))
	b = appendNumber(b, 5, r.Token)
	b = appendNumber(b, 6, r.Session)
	b = appendNumber(b, 7, r.Order)
	b = appendNumber(b, 8, r.OrderSeq)
	b = appendNumber(b, 9, r.RetryAt)
	b = appendNumber(b, 10, r.QueueDeadline)
	b = appendNumber(b, 11, r.RunDeadline)
	b = appendNumber(b, 12, r.TotalDeadline)
	b = appendNumber(b, 13, r.HeartbeatDeadline)
	b = appendNumber(b, 14, r.ChangedWall)
	b = appendNumber(b, 15, int64(r.Pending))
	b = appendNumber(b, 16, int64(r.Done))
	b = appendNumber(b, 17, r.SkippedAt)
	b = appendNumber(b, 18, r.GrantedWall)
	b = appendNumber(b, 19, int64(r.has))
	b = appendNumber(b, 20, r.CompletedAt)
	b = appendNumber(b, 21, r.TimerAt)
	b = appendNumber(b, 22, r.TimerDate)
	b = appendNumber(b, 23, int64(r.Stage))
	b = appendNumber(b, 24, r.Todo)
	for as, number := range r.number {
		b = appendNumber(b, 25+byte(as), number)
	}
	b = appendNumber(b, 28, r.LockDeadline)
	b = appendFlag(b, 30, r.Lapsed)
	b = appendFlag(b, 31, r.Cancelling)
	if !plant.Is(plant.CopyForgotten) {
		b = appendFlag(b, 36, r.Copied)
	}
	b = appendText(b, 40, r.Code)
	b = appendText(b, 41, r.Reason)
	b = appendText(b, 42, r.Parked)
	b = appendText(b, 43, r.Other)
	b = appendText(b, 44, r.OtherStep)
	if r.Fair != nil {
		b = appendText(b, 45, *r.Fair)
	}
	b = appendLocks(b, r.Locks)
	for _, e := range r.Ended {
		b = appendNumber(b, 55, e.Token)
		b = appendText(b, 56, e.How)
		b = appendNumber(b, 57, int64(e.State))
		b = appendNumber(b, 58, e.Delay)
	}
	b = appendLimits(b, r.limits())
	if r.Rated != nil {
		b = appendNumber(b, 63, int64(r.Rated.at))
	}
	return append(b, 0)
}

func appendLimits(b []byte, limits []graph.Limit) []byte {
	for _, l := range limits {
		b = appendText(b, 60, l.Key)
		b = appendNumber(b, 61, int64(l.Limit))
		b = appendNumber(b, 62, l.Per)
	}
	return b
}

func setLimit(limits *[]graph.Limit, f field) bool {
	if f.tag == 60 {
		*limits = append(*limits, graph.Limit{Key: string(f.text)})
		return true
	}
	if len(*limits) == 0 {
		return false
	}
	l := &(*limits)[len(*limits)-1]
	if f.tag == 61 {
		l.Limit = int32(f.number)
	} else {
		l.Per = f.number
	}
	return true
}

func setRated(r *run, f field) bool {
	if r.Rated == nil {
		r.Rated = &rated{}
	}
	if f.tag < 63 {
		return setLimit(&r.Rated.limits, f)
	}
	r.Rated.at = int32(f.number)
	return int(r.Rated.at) <= len(r.Rated.limits)
}

func appendLocks(b []byte, locks []*logv1.ClaimedLock) []byte {
	for _, l := range locks {
		b = appendText(b, 50, l.Lock)
		b = appendFlag(b, 51, l.Shared)
		b = appendNumber(b, 52, int64(l.Limit))
		b = appendNumber(b, 53, int64(l.Take))
		b = appendNumber(b, 54, int64(l.Slot))
		b = appendNumber(b, 59, int64(l.Hold))
	}
	return b
}

func runField(tag byte) fieldKind {
	switch {
	case tag >= 1 && tag <= 28, tag >= 52 && tag <= 55, tag >= 57 && tag <= 59, tag >= 61 && tag <= 63, tag == 69:
		return fieldNumber
	case tag >= 30 && tag <= 32, tag == 36, tag == 51:
		return fieldFlag
	case tag >= 40 && tag <= 45, tag == 50, tag == 56, tag == 60, tag == 64, tag == 68:
		return fieldText
	}
	return fieldUnknown
}

// cutRecord reads the fields of one run or place, and returns what is behind it.
func cutRecord(b []byte, set func(field) bool) (rest []byte, err error) {
	for rest = b; ; {
		f, next, ok := cutField(rest, runField)
		if !ok || f.tag != 0 && !set(f) {
			return nil, fmt.Errorf("a run has the damaged encoding %x", b)
		}
		if rest = next; f.tag == 0 {
			return rest, nil
		}
	}
}

// cutRun reads one run of a page.
func cutRun(b []byte, r *run) (rest []byte, err error) {
	return cutRecord(b, func(f field) bool {
		r.ownFor(f.tag)
		switch {
		case f.tag < 30:
			return setRunNumber(r, f)
		case f.tag >= 50 && f.tag < 55, f.tag == 59:
			return setLock(&r.Locks, f)
		case f.tag >= 68: // of places
			return false
		case f.tag >= 60:
			return setRated(r, f)
		case f.tag >= 55:
			return setEnded(&r.Ended, f)
		}
		switch f.tag {
		case 30:
			r.Lapsed = true
		case 31:
			r.Cancelling = true
		case 36:
			r.Copied = true
		case 40:
			r.Code = string(f.text)
		case 41:
			r.Reason = string(f.text)
		case 42:
			r.Parked = string(f.text)
		case 43:
			r.Other = string(f.text)
		case 44:
			r.OtherStep = string(f.text)
		case 45:
			key := string(f.text)
			r.Fair = &key
		}
		return true
	})
}

// ownFor gives a run that is read memory of its own for a field, if that is where the field is.
func (r *run) ownFor(tag byte) {
	switch {
	case tag >= 6 && tag <= 13, tag == 17, tag == 18, tag == 21, tag == 22, tag == 28, tag == 42, tag == 45, tag >= 60:
		if r.motion == noMotion {
			r.motion = &motion{}
		}
	case tag == 20, tag == 24, tag >= 40:
		if r.aside == noAside {
			r.aside = &aside{}
		}
	}
}

func setRunNumber(r *run, f field) bool {
	switch n := f.number; f.tag {
	case 1:
		r.State = v1.RunState(n)
	case 3:
		r.Attempt = int32(n)
	case 4:
		r.Used = int32(n)
	case 5:
		r.Token = n
	case 6:
		r.Session = n
	case 7:
		r.Order = n
	case 8:
		r.OrderSeq = n
	case 14:
		r.ChangedWall = n
	case 15:
		r.Pending = int32(n)
	case 16:
		r.Done = int32(n)
	case 17:
		r.SkippedAt = n
	case 18:
		r.GrantedWall = n
	case 19:
		r.has = uint8(n)
	case 20:
		r.CompletedAt = n
	case 23:
		r.Stage = stage(n)
	case 24:
		r.Todo = n
	case 25, 26, 27:
		r.number[f.tag-25] = n
	default:
		return setRunTime(r, f)
	}
	return true
}

func setRunTime(r *run, f field) bool {
	switch f.tag {
	case 9:
		r.RetryAt = f.number
	case 10:
		r.QueueDeadline = f.number
	case 11:
		r.RunDeadline = f.number
	case 12:
		r.TotalDeadline = f.number
	case 13:
		r.HeartbeatDeadline = f.number
	case 21:
		r.TimerAt = f.number
	case 22:
		r.TimerDate = f.number
	case 28:
		r.LockDeadline = f.number
	default:
		return false
	}
	return true
}

func setLock(locks *[]*logv1.ClaimedLock, f field) bool {
	if f.tag == 50 {
		*locks = append(*locks, &logv1.ClaimedLock{Lock: string(f.text)})
		return true
	}
	if len(*locks) == 0 {
		return false
	}
	l := (*locks)[len(*locks)-1]
	switch f.tag {
	case 51:
		l.Shared = true
	case 52:
		l.Limit = int32(f.number)
	case 53:
		l.Take = int32(f.number)
	case 54:
		l.Slot = int32(f.number)
	case 59:
		l.Hold = int32(f.number)
	}
	return true
}

func setEnded(ended *[]*logv1.EndedToken, f field) bool {
	if f.tag == 55 {
		*ended = append(*ended, &logv1.EndedToken{Token: f.number})
		return true
	}
	if len(*ended) == 0 {
		return false
	}
	e := (*ended)[len(*ended)-1]
	switch f.tag {
	case 56:
		e.How = string(f.text)
	case 57:
		e.State = v1.RunState(f.number)
	case 58:
		e.Delay = f.number
	}
	return true
}

// appendPlace adds what the resident orders need of a pending run.
func appendPlace(b []byte, node int32, p place) []byte {
	b = appendNumber(b, 1, int64(p.state))
	b = appendNumber(b, 7, p.order)
	b = appendNumber(b, 8, p.seq)
	b = appendNumber(b, 9, p.due)
	b = appendNumber(b, 17, p.skippedAt)
	b = appendNumber(b, 20, int64(node))
	if !plant.Is(plant.DatesNotStored) {
		b = appendNumber(b, 22, p.date)
	}
	b = appendNumber(b, 24, p.todo)
	b = appendFlag(b, 32, p.held)
	b = appendText(b, 41, p.queue)
	b = appendText(b, 42, p.parked)
	if !p.atBarrier() || !plant.Is(plant.PartiesNotStored) {
		b = appendText(b, 43, p.other)
	}
	b = appendText(b, 44, p.step)
	b = appendText(b, 45, p.fair)
	b = appendLimits(appendLocks(b, p.locks), p.limits)
	b = appendText(b, 64, p.limited)
	b = appendText(b, 68, p.key)
	return append(appendNumber(b, 69, int64(p.count)), 0)
}

func cutPlace(b []byte) (p place, node int32, rest []byte, err error) {
	rest, err = cutRecord(b, func(f field) bool {
		switch f.tag {
		case 1:
			p.state = v1.RunState(f.number)
		case 7:
			p.order = f.number
		case 8:
			p.seq = f.number
		case 9:
			p.due = f.number
		case 17:
			p.skippedAt = f.number
		case 20:
			node = int32(f.number)
		case 22:
			p.date = f.number
		case 24:
			p.todo = f.number
		case 32:
			p.held = true
		case 41:
			p.queue = string(f.text)
		case 42:
			p.parked = string(f.text)
		case 43:
			p.other = string(f.text)
		case 44:
			p.step = string(f.text)
		case 45:
			p.fair = string(f.text)
		case 60, 61, 62:
			return setLimit(&p.limits, f)
		case 64:
			p.limited = string(f.text)
		case 68:
			p.key = string(f.text)
		case 69:
			p.count = int32(f.number)
		default:
			return (f.tag >= 50 && f.tag < 55 || f.tag == 59) && setLock(&p.locks, f)
		}
		return true
	})
	return p, node, rest, err
}
