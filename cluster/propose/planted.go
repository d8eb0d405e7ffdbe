//go:build !sabotage

package propose

// Young is for a planted bug (planted_sabotage.go). This build holds none.
func (c *Core) Young(Clock) bool { return false }
