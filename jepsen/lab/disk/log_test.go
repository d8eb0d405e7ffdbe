package disk

import (
	"fmt"
	"os"
	"path/filepath"
	"syscall"
	"testing"
)

// What a log's commit costs: a block over zeros, and its sync.
func BenchmarkCommit(b *testing.B) {
	d := mounted(b)
	f, err := os.Create(filepath.Join(d.Path(), "log"))
	if err != nil {
		b.Fatal(err)
	}
	defer f.Close()
	const size, block = 1 << 20, 512
	if _, err := f.Write(make([]byte, size)); err != nil {
		b.Fatal(err)
	}
	data := make([]byte, block)
	var before, after syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &before); err != nil {
		b.Fatal(err)
	}
	for n := 0; b.Loop(); n++ {
		if _, err := f.WriteAt(data, int64(n*block%size)); err != nil {
			b.Fatal(err)
		}
		if err := syscall.Fdatasync(int(f.Fd())); err != nil {
			b.Fatal(err)
		}
	}
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &after); err != nil {
		b.Fatal(err)
	}
	spent := after.Utime.Nano() + after.Stime.Nano() - before.Utime.Nano() - before.Stime.Nano()
	b.ReportMetric(float64(spent)/float64(b.N), "cpu-ns/op")
}

// The journal keeps descriptors of files that are written and synced again and again, and not of all that ever were.
func TestOfManySyncedFilesFewAreKeptOpen(t *testing.T) {
	d := mounted(t)
	names := make([]string, 3*kept)
	for i := range names {
		names[i] = filepath.Join(d.Path(), fmt.Sprint("file-", i))
		put(t, names[i], "kept", 0, true, true)
	}
	d.mu.Lock()
	open := len(d.journal.files)
	d.mu.Unlock()
	if open > kept {
		t.Errorf("the journal has %d files open of which nothing is unsynced, want at most %d", open, kept)
	}
	for _, name := range names {
		put(t, name, "lost", 0, false, false)
	}
	if err := d.LosePower(nil); err != nil {
		t.Fatal(err)
	}
	for _, name := range names {
		want(t, name, "kept")
	}
	if lost := d.Seen().Lost; lost != len(names) {
		t.Errorf("%d writes were lost, want %d", lost, len(names))
	}
}

// An inode whose descriptor is kept is not given to another file, whose changes would be taken back in its place.
func TestARemovedFileIsNotTakenForTheOneThatIsMadeAfterIt(t *testing.T) {
	d := mounted(t)
	name := filepath.Join(d.Path(), "file")
	for range 5 {
		put(t, name, "gone", 0, true, true)
		if err := os.Remove(name); err != nil {
			t.Fatal(err)
		}
		syncDirectory(t, d.Path())
	}
	put(t, name, "kept", 0, true, true)
	put(t, name, "lost", 0, false, false)
	if err := d.LosePower(nil); err != nil {
		t.Fatal(err)
	}
	want(t, name, "kept")
}
