package cluster

import (
	"testing"
	"time"
)

// Slices grow while they are quick, to what they may be of, and shrink at once when one is slow, but go on.
func TestSlicesAreAsLargeAsThereIsRoom(t *testing.T) {
	p := &paced{bound: 50}
	for range 100 {
		p.took(pacedApply / 10)
	}
	if got := p.most.Load(); got != 50 {
		t.Errorf("quick slices are of %d; want 50", got)
	}
	p.took(10 * pacedApply)
	if got := p.most.Load(); got != 25 {
		t.Errorf("behind a slow one a slice is of %d; want 25", got)
	}
	p.took(pacedApply + 1)
	if got := p.most.Load(); got != 22 {
		t.Errorf("behind one that is a little slow a slice is of %d; want 22", got)
	}
	for range 100 {
		p.took(time.Second)
	}
	if got := p.most.Load(); got != pacedLeast {
		t.Errorf("slow slices are of %d; want %d", got, pacedLeast)
	}
}
