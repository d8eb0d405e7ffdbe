//go:build !sabotage

package fsm

import logv1 "github.com/lockstep-dev/lockstep/proto/gen/lockstep/log/v1"

// plantTerm and plantTick are where planted bugs of more than a line strike (planted_sabotage.go). This build holds none.
func (m *Machine) plantTerm()             {}
func (t *turn) plantTick(_ *logv1.Header) {}
