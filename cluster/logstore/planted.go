//go:build !sabotage

package logstore

import "os"

// slowWriteCounts is a planted bug (planted_sabotage.go). This build holds none.
func slowWriteCounts(*os.File) error { panic("this build holds no bugs") }
