// Package cron says at which times a schedule fires: what a cron expression means in a time zone. It is asked before anything is proposed,
// by whoever takes a schedule and by the leader, and never in apply: what time zones say changes with the data of a machine.
//
// The rules are those of github.com/robfig/cron (docs/decisions/0014-cron.md): a time of day that the clocks skip does not come on that
// day, and one that they show twice comes twice.
package cron

import (
	"fmt"
	"strings"
	"time"
	_ "time/tzdata" // for hosts without

	"github.com/robfig/cron/v3"
)

// Limits.
const (
	MaxLength = 256         // of an expression, and of a zone's name
	Shortest  = time.Second // between two times of @every
)

// Cron is an expression in a zone.
type Cron struct {
	schedule cron.Schedule
	zone     *time.Location
}

// the fields, in their order.
var fields = [...]string{"minute", "hour", "day of month", "month", "day of week"}

const parts = cron.Minute | cron.Hour | cron.Dom | cron.Month | cron.Dow

// Parse reads an expression: five fields, a descriptor such as @daily, or @every and a length of time. An error names the place.
func Parse(expression, zone string) (*Cron, error) {
	place, err := location(zone)
	if err != nil {
		return nil, err
	}
	switch {
	case expression == "":
		return nil, fmt.Errorf("cron is missing")
	case len(expression) > MaxLength:
		return nil, fmt.Errorf("cron has %d bytes, the limit is %d", len(expression), MaxLength)
	case strings.HasPrefix(expression, "@"):
		return descriptor(expression, place)
	case strings.Contains(expression, "TZ="): // the library's, which would have the zone in two places
		return nil, fmt.Errorf("cron %q names a zone; give that as zone", expression)
	}
	list := strings.Fields(expression)
	if len(list) != len(fields) {
		return nil, fmt.Errorf("cron %q has %d fields, and not 5: minute, hour, day of month, month, day of week", expression, len(list))
	}
	for at := range list {
		if err := field(list, at); err != nil {
			return nil, fmt.Errorf("cron %q, field %d (%s): %w", expression, at+1, fields[at], err)
		}
	}
	schedule, err := cron.NewParser(parts).Parse(strings.Join(list, " "))
	if err != nil {
		return nil, fmt.Errorf("cron %q: %w", expression, err)
	}
	return comes(&Cron{schedule, place}, expression)
}

// field checks one field by itself. The library takes an empty list for never, and a list with holes for what is left of it.
func field(list []string, at int) error {
	for one := range strings.SplitSeq(list[at], ",") {
		if one == "" {
			return fmt.Errorf("%q has an empty place", list[at])
		}
	}
	alone := []string{"*", "*", "*", "*", "*"}
	alone[at] = list[at]
	_, err := cron.NewParser(parts).Parse(strings.Join(alone, " "))
	return err
}

func location(zone string) (*time.Location, error) {
	switch {
	case zone == "":
		return time.UTC, nil
	case len(zone) > MaxLength:
		return nil, fmt.Errorf("zone has %d bytes, the limit is %d", len(zone), MaxLength)
	case zone == "Local": // whose it would be depends on who leads
		return nil, fmt.Errorf("zone %q is another on each machine; name one, as Europe/Berlin", zone)
	}
	place, err := time.LoadLocation(zone)
	if err != nil {
		return nil, fmt.Errorf("zone %q is unknown; names are those of the IANA database, as Europe/Berlin", zone)
	}
	return place, nil
}

func descriptor(expression string, place *time.Location) (*Cron, error) {
	if text, is := strings.CutPrefix(expression, "@every "); is {
		every, err := time.ParseDuration(text)
		if err != nil || every < Shortest || every%time.Second != 0 {
			return nil, fmt.Errorf("cron %q: %q is not a length of time of whole seconds, as 90s or 1h30m", expression, text)
		}
		return comes(&Cron{cron.Every(every), place}, expression)
	}
	schedule, err := cron.NewParser(cron.Descriptor).Parse(expression)
	if err != nil {
		return nil, fmt.Errorf("cron %q is none of @hourly, @daily, @midnight, @weekly, @monthly, @yearly, @annually, @every TIME", expression)
	}
	if spec, is := schedule.(*cron.SpecSchedule); is {
		spec.Location = time.Local // as that of an expression: Next is told
	}
	return comes(&Cron{schedule, place}, expression)
}

// comes refuses what never comes, as the 30th of February.
func comes(c *Cron, expression string) (*Cron, error) {
	if _, ok := c.Next(time.Date(2024, 1, 1, 0, 0, 0, 0, time.UTC).UnixNano()); !ok {
		return nil, fmt.Errorf("cron %q never comes", expression)
	}
	return c, nil
}

// Next is the first time behind another, both in unix nanoseconds; false when there is none within five years.
func (c *Cron) Next(after int64) (at int64, ok bool) {
	next := c.schedule.Next(time.Unix(0, after).In(c.zone))
	if next.IsZero() || next.UnixNano() <= after {
		return 0, false
	}
	return next.UnixNano(), true
}
