package table

import (
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"io/fs"
	"strings"

	"github.com/cockroachdb/pebble/v2/vfs"
)

// Dir is a directory that holds an engine and can replace it by another at once: its file CURRENT names the
// subdirectory that is in force. One goroutine at a time may use it.
type Dir struct {
	path    string
	options Options
	fs      vfs.FS
	engine  *pebbleEngine
	number  uint64 // of the engine in force, which is in store-<number>
}

const (
	currentFile  = "CURRENT"
	currentAside = currentFile + ".tmp"
)

func storeName(number uint64) string { return fmt.Sprintf("store-%d", number) }

// OpenDir opens the engine that is in force, or makes the first one. What a replacement left half done is removed.
func OpenDir(path string, o Options) (*Dir, error) {
	d := &Dir{path: path, options: o, fs: o.withDefaults().FS}
	if err := d.open(); err != nil {
		return nil, err
	}
	return d, nil
}

func (d *Dir) open() error {
	if err := d.fs.MkdirAll(d.path, 0o755); err != nil {
		return fmt.Errorf("open store: %w", err)
	}
	number, err := d.readCurrent()
	if err != nil {
		return err
	}
	if err := d.clean(max(number, 1)); err != nil {
		return fmt.Errorf("open store: %w", err)
	}
	if d.engine, err = openPebble(d.join(storeName(max(number, 1))), d.options); err != nil {
		return err
	}
	if d.number = number; number == 0 {
		if err := d.flip(1); err != nil {
			return errors.Join(fmt.Errorf("open store: %w", err), d.engine.Close())
		}
	}
	return nil
}

// Engine returns the engine in force.
func (d *Dir) Engine() Engine { return d.engine }

// Replace builds another engine aside, makes it durable, flips to it, and closes the old one, whose files are removed
// when its last snapshot is closed. After an error of build the old engine is still in force; after one of the flip it
// is not known which is, so the old engine refuses every call and Fatal is told.
func (d *Dir) Replace(build func(Engine) error) (Engine, error) {
	next := d.number + 1
	engine, err := d.build(next, build)
	if err != nil {
		return nil, err
	}
	old, oldName := d.engine, storeName(d.number)
	if err := d.flip(next); err != nil {
		old.stop(fmt.Errorf("replace store %s: %w", d.path, err))
		return nil, errors.Join(old.err(), engine.Close())
	}
	d.engine = engine
	if err := old.closeThen(func() error { return d.fs.RemoveAll(d.join(oldName)) }); err != nil {
		return nil, fmt.Errorf("close the store that was replaced: %w", err)
	}
	return engine, nil
}

// build makes the next engine, durably; nothing of it is left after an error.
func (d *Dir) build(number uint64, build func(Engine) error) (*pebbleEngine, error) {
	path := d.join(storeName(number))
	if err := d.fs.RemoveAll(path); err != nil {
		return nil, fmt.Errorf("replace store: %w", err)
	}
	engine, err := openPebble(path, d.options)
	if err != nil {
		return nil, err
	}
	if err = build(engine); err == nil {
		err = engine.Sync()
	}
	if err != nil {
		return nil, errors.Join(fmt.Errorf("replace store: %w", err), engine.closeThen(func() error { return d.fs.RemoveAll(path) }))
	}
	return engine, nil
}

// Close closes the engine in force.
func (d *Dir) Close() error { return d.engine.Close() }

func (d *Dir) join(name string) string { return d.fs.PathJoin(d.path, name) }

// readCurrent returns the number of the engine in force, and 0 when there is none yet.
func (d *Dir) readCurrent() (uint64, error) {
	names, err := d.fs.List(d.path)
	if err != nil {
		return 0, fmt.Errorf("open store: %w", err)
	}
	text, err := d.readFile(currentFile)
	if errors.Is(err, fs.ErrNotExist) {
		for _, name := range names {
			if strings.HasPrefix(name, "store-") && name != storeName(1) {
				return 0, damaged(d.path, "%s is gone, and %s is there", currentFile, name)
			}
		}
		return 0, nil
	}
	if err != nil {
		return 0, fmt.Errorf("open store: %w", err)
	}
	var number uint64
	if _, err := fmt.Sscanf(text, "store-%d", &number); err != nil || number == 0 || text != currentText(number) {
		return 0, damaged(d.path, "%s says %q", currentFile, text)
	}
	for _, name := range names {
		if name == storeName(number) {
			return number, nil
		}
	}
	return 0, damaged(d.path, "%s names %s, which is not there", currentFile, storeName(number))
}

// currentText is the name of a subdirectory and its checksum: a flipped digit must not put a store in force that was
// left half built.
func currentText(number uint64) string {
	name := storeName(number)
	return fmt.Sprintf("%s %08x\n", name, crc32.Checksum([]byte(name), crc32.MakeTable(crc32.Castagnoli)))
}

func (d *Dir) readFile(name string) (string, error) {
	f, err := d.fs.Open(d.join(name))
	if err != nil {
		return "", err
	}
	b, err := io.ReadAll(f)
	return string(b), errors.Join(err, f.Close())
}

// flip puts an engine in force. Its name is made durable first, then CURRENT is written aside, synced and renamed.
func (d *Dir) flip(number uint64) error {
	if err := d.syncDir(d.path); err != nil {
		return err
	}
	aside := d.join(currentAside)
	f, err := d.fs.Create(aside, vfs.WriteCategoryUnspecified)
	if err != nil {
		return err
	}
	_, err = f.Write([]byte(currentText(number)))
	if err == nil {
		err = f.Sync()
	}
	if err := errors.Join(err, f.Close()); err != nil {
		return err
	}
	if err := d.fs.Rename(aside, d.join(currentFile)); err != nil {
		return err
	}
	if err := d.syncDir(d.path); err != nil {
		return err
	}
	d.number = number
	// The directory's own name must be durable too, or the flip is lost with it.
	return d.syncDir(d.fs.PathDir(d.path))
}

func (d *Dir) syncDir(path string) error {
	dir, err := d.fs.OpenDir(path)
	if err != nil {
		return err
	}
	return errors.Join(dir.Sync(), dir.Close())
}

// clean removes what a crash left half done: every store but one, and a CURRENT that was not renamed.
func (d *Dir) clean(number uint64) error {
	names, err := d.fs.List(d.path)
	if err != nil {
		return err
	}
	for _, name := range names {
		if strings.HasPrefix(name, "store-") && name != storeName(number) || name == currentAside {
			if err := d.fs.RemoveAll(d.join(name)); err != nil {
				return err
			}
		}
	}
	return nil
}
