//go:build sabotage

package propose

import "time"

// Young is for a planted bug: this term has gone on for some ticks, and for less than a second, and others were before.
func (c *Core) Young(clock Clock) bool {
	return c.leading && c.elapsed > 100*time.Millisecond && c.elapsed < time.Second && time.Duration(clock.Uptime) > c.elapsed+time.Second
}
