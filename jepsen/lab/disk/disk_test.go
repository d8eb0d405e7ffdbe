package disk

import (
	"bytes"
	"errors"
	"os"
	"path/filepath"
	"syscall"
	"testing"
	"time"

	"github.com/lockstep-dev/lockstep/jepsen/require"
)

func mounted(t testing.TB) *Disk {
	t.Helper()
	dir := t.TempDir()
	back, at := filepath.Join(dir, "back"), filepath.Join(dir, "at")
	if err := errors.Join(os.Mkdir(back, 0o700), os.Mkdir(at, 0o700)); err != nil {
		t.Fatal(err)
	}
	d, err := Mount(back, at)
	if errors.Is(err, ErrNotHere) {
		require.Missing(t, "fuse", err.Error())
	}
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := d.Close(); err != nil {
			t.Error(err)
		}
	})
	return d
}

// put writes a file, syncs it and its directory as told, and closes it.
func put(t *testing.T, path, text string, at int64, syncFile, syncDir bool) {
	t.Helper()
	f, err := os.OpenFile(path, os.O_CREATE|os.O_RDWR, 0o600)
	if err != nil {
		t.Fatal(err)
	}
	_, err = f.WriteAt([]byte(text), at)
	if err == nil && syncFile {
		err = f.Sync()
	}
	if err = errors.Join(err, f.Close()); err != nil {
		t.Fatal(err)
	}
	if syncDir {
		syncDirectory(t, filepath.Dir(path))
	}
}

func syncDirectory(t *testing.T, dir string) {
	t.Helper()
	f, err := os.Open(dir)
	if err != nil {
		t.Fatal(err)
	}
	if err := errors.Join(f.Sync(), f.Close()); err != nil {
		t.Fatal(err)
	}
}

func want(t *testing.T, path, text string) {
	t.Helper()
	got, err := os.ReadFile(path)
	if text == "" && errors.Is(err, os.ErrNotExist) {
		return
	}
	if err != nil || string(got) != text {
		t.Errorf("%s has %.40q (%v), want %.40q", filepath.Base(path), got, err, text)
	}
}

// A loss of power takes what was not synced, and nothing else.
func TestALossOfPowerTakesWhatWasNotSynced(t *testing.T) {
	d := mounted(t)
	at := func(name string) string { return filepath.Join(d.Path(), name) }
	put(t, at("both"), "kept", 0, true, true)
	put(t, at("both"), "LOST and longer", 0, false, false)
	put(t, at("name-only"), "gone", 0, false, true)
	put(t, at("replaced"), "old", 0, true, true)
	put(t, at("new"), "new", 0, true, true)
	put(t, at("deleted"), "back", 0, true, true)
	put(t, at("short"), "0123456789", 0, true, true)
	if err := errors.Join(os.Rename(at("new"), at("replaced")), os.Remove(at("deleted")), os.Truncate(at("short"), 3), os.Mkdir(at("dir"), 0o700)); err != nil {
		t.Fatal(err)
	}
	put(t, at("dir/inner"), "gone", 0, true, true)
	put(t, at("bytes-only"), "gone", 0, true, false)
	want(t, at("both"), "LOST and longer")
	want(t, at("replaced"), "new")
	if err := d.LosePower(nil); err != nil {
		t.Fatal(err)
	}
	for name, text := range map[string]string{
		"both": "kept", "bytes-only": "", "replaced": "old", "new": "new", "deleted": "back", "short": "0123456789", "dir": "", "dir/inner": "",
	} {
		want(t, at(name), text)
	}
	if b, err := os.ReadFile(at("name-only")); err != nil || len(b) > 0 {
		t.Errorf("a file whose name alone was synced has %q, %v", b, err)
	}
	if d.Seen().Lost == 0 {
		t.Error("nothing was lost")
	}
	// And it goes on as a disk.
	put(t, at("after"), "kept", 0, true, true)
	if err := d.LosePower(nil); err != nil {
		t.Fatal(err)
	}
	want(t, at("after"), "kept")
}

// A directory that went for good takes the names that were in it along, synced or not; one that may come back does not.
func TestARemovedDirectoryTakesItsNamesAlong(t *testing.T) {
	for name, lasts := range map[string]bool{"lasts": true, "comes back": false} {
		t.Run(name, func(t *testing.T) {
			d := mounted(t)
			dir := filepath.Join(d.Path(), "dir")
			if err := os.Mkdir(dir, 0o700); err != nil {
				t.Fatal(err)
			}
			put(t, filepath.Join(dir, "f"), "text", 0, true, true)
			syncDirectory(t, d.Path())
			if err := os.RemoveAll(dir); err != nil {
				t.Fatal(err)
			}
			if lasts {
				syncDirectory(t, d.Path())
			}
			if err := d.LosePower(nil); err != nil {
				t.Fatal(err)
			}
			if lasts {
				want(t, filepath.Join(dir, "f"), "")
			} else {
				want(t, filepath.Join(dir, "f"), "text")
			}
		})
	}
}

// A torn write is there in some of its pages.
func TestAWriteIsTornByPages(t *testing.T) {
	d := mounted(t)
	path := filepath.Join(d.Path(), "f")
	put(t, path, string(bytes.Repeat([]byte("o"), 3*page)), 0, true, true)
	put(t, path, string(bytes.Repeat([]byte("n"), 3*page)), 0, false, false)
	turn := 0
	if err := d.LosePower(func() bool { turn++; return turn == 2 }); err != nil {
		t.Fatal(err)
	}
	want(t, path, string(bytes.Repeat([]byte("o"), page))+string(bytes.Repeat([]byte("n"), page))+string(bytes.Repeat([]byte("o"), page)))
}

func TestFaultsAreMet(t *testing.T) {
	d := mounted(t)
	f, err := os.Create(filepath.Join(d.Path(), "f"))
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	write := func() error { _, err := f.Write([]byte("x")); return err }
	d.Fail(syscall.EIO)
	if err := write(); !errors.Is(err, syscall.EIO) {
		t.Errorf("a write to a failing disk: %v", err)
	}
	if err := f.Sync(); !errors.Is(err, syscall.EIO) {
		t.Errorf("a sync of a failing disk: %v", err)
	}
	d.Fail(0)
	d.Fill(true)
	if err := write(); !errors.Is(err, syscall.ENOSPC) {
		t.Errorf("a write to a full disk: %v", err)
	}
	d.Fill(false)
	d.Stall(true)
	done := make(chan error, 1)
	go func() { done <- write() }()
	for d.Seen().Stalled == 0 {
		time.Sleep(time.Millisecond) // the kernel has no channel
	}
	select {
	case err := <-done:
		t.Fatalf("a write to a stalled disk came back: %v", err)
	default:
	}
	d.Stall(false)
	if err := <-done; err != nil {
		t.Error(err)
	}
	d.Slow(50 * time.Millisecond)
	began := time.Now()
	if err := f.Sync(); err != nil || time.Since(began) < 50*time.Millisecond {
		t.Errorf("a sync of a slow disk took %s: %v", time.Since(began), err)
	}
	d.Slow(0)
	if s := d.Seen(); s.Failed != 2 || s.Full != 1 || s.Stalled != 1 || s.Slowed != 1 {
		t.Errorf("seen: %+v", s)
	}
}

// While syncs are held, what is written can be lost for certain; and whoever waited for one is not told that it was.
func TestWhatIsWrittenWhileSyncsAreHeldIsLost(t *testing.T) {
	d := mounted(t)
	name := filepath.Join(d.Path(), "log")
	put(t, name, "kept", 0, true, true)
	d.Hold(true)
	f, err := os.OpenFile(name, os.O_RDWR, 0)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := f.WriteAt([]byte("lost"), 0); err != nil {
		t.Fatal(err)
	}
	synced := make(chan error)
	go func() { synced <- f.Sync() }()
	if n := d.Unsynced(); n != 1 {
		t.Errorf("%d changes are unsynced, want 1", n)
	}
	select {
	case err := <-synced:
		t.Fatalf("a sync that is held returned %v", err)
	case <-time.After(50 * time.Millisecond):
	}
	d.Hold(false)
	if err := <-synced; !errors.Is(err, syscall.EIO) {
		t.Errorf("a sync that was held returned %v, want %v", err, syscall.EIO)
	}
	if err := f.Close(); err != nil {
		t.Fatal(err)
	}
	if err := d.LosePower(nil); err != nil {
		t.Fatal(err)
	}
	want(t, name, "kept")
	put(t, name, "more", 0, true, true)
	if n := d.Unsynced(); n != 0 {
		t.Errorf("%d changes are unsynced after a sync, want none", n)
	}
}
