//go:build !sabotage

package plant

import "errors"

// Built tells whether this build holds the bugs.
const Built = false

// Is tells whether a bug is planted: never, in this build.
func Is(Bug) bool { return false }

func set(Bug) error { return errors.New("this build holds no bugs; build with -tags sabotage") }
