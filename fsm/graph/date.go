package graph

// The dates that unix nanoseconds can tell, with some room: from 1678 to 2262. What is before or behind is none.
const (
	firstSecond = -9_214_560_000
	lastSecond  = 9_214_646_400
)

func nanoseconds(seconds, fraction int64) (int64, bool) {
	if seconds < firstSecond || seconds > lastSecond {
		return 0, false
	}
	return seconds*1e9 + fraction, true
}

// parseDate reads a date as RFC 3339 has it, as unix nanoseconds: 2030-01-31T09:00:00Z, with a fraction of the second and
// an offset from UTC if need be. It is our own, for package time has become stricter before, and replicas that read a
// date differently would disagree. A leap second is the second behind it.
func parseDate(s string) (int64, bool) {
	d := dateReader{rest: s}
	year, month, day := d.number(4, '-'), d.number(2, '-'), d.number(2, 'T')
	hour, minute, second := d.number(2, ':'), d.number(2, ':'), d.number(2, 0)
	fraction := d.fraction()
	offset := d.offset()
	switch {
	case d.wrong || d.rest != "":
		return 0, false
	case month < 1 || month > 12 || day < 1 || day > daysIn(year, month):
		return 0, false
	case hour > 23 || minute > 59 || second > 60:
		return 0, false
	}
	return nanoseconds(daysSince1970(year, month, day)*86_400+hour*3600+minute*60+second-offset, fraction)
}

type dateReader struct {
	rest  string
	wrong bool
}

// number reads digits, and behind them the byte end unless that is zero. A T may be small.
func (d *dateReader) number(digits int, end byte) (n int64) {
	for range digits {
		if d.rest == "" || d.rest[0] < '0' || d.rest[0] > '9' {
			d.wrong = true
			return 0
		}
		n = n*10 + int64(d.rest[0]-'0')
		d.rest = d.rest[1:]
	}
	if end != 0 && !d.take(end) {
		d.wrong = true
	}
	return n
}

// take takes a byte off: a letter in either case.
func (d *dateReader) take(b byte) bool {
	if d.rest == "" || d.rest[0] != b && (b < 'A' || d.rest[0] != b+'a'-'A') {
		return false
	}
	d.rest = d.rest[1:]
	return true
}

// fraction reads what follows the seconds, to nanoseconds; more digits are cut off.
func (d *dateReader) fraction() (n int64) {
	if !d.take('.') {
		return 0
	}
	digits := 0
	for ; d.rest != "" && d.rest[0] >= '0' && d.rest[0] <= '9'; digits++ {
		if digits < 9 {
			n = n*10 + int64(d.rest[0]-'0')
		}
		d.rest = d.rest[1:]
	}
	d.wrong = d.wrong || digits == 0
	for ; digits < 9; digits++ {
		n *= 10
	}
	return n
}

// offset reads how many seconds the clock is ahead of UTC.
func (d *dateReader) offset() int64 {
	if d.take('Z') {
		return 0
	}
	sign := int64(1)
	switch {
	case d.take('+'):
	case d.take('-'):
		sign = -1
	default:
		d.wrong = true
		return 0
	}
	hours, minutes := d.number(2, ':'), d.number(2, 0)
	d.wrong = d.wrong || hours > 23 || minutes > 59
	return sign * (hours*3600 + minutes*60)
}

func daysIn(year, month int64) int64 {
	switch month {
	case 4, 6, 9, 11:
		return 30
	case 2:
		if year%4 == 0 && (year%100 != 0 || year%400 == 0) {
			return 29
		}
		return 28
	}
	return 31
}

// daysSince1970 counts in years that begin in March, so that a leap day is the last of its year.
func daysSince1970(year, month, day int64) int64 {
	if month <= 2 {
		year, month = year-1, month+12
	}
	before := year*365 + floorDiv(year, 4) - floorDiv(year, 100) + floorDiv(year, 400)
	return before + (153*(month-3)+2)/5 + day - 1 - 719_468
}

func floorDiv(a, b int64) int64 {
	if a < 0 {
		return -((-a + b - 1) / b)
	}
	return a / b
}
