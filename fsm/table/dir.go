package table

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"path/filepath"
	"strings"

	"github.com/cockroachdb/pebble/v2/vfs"
)

// Dir is a directory that holds an engine and can replace it by another at once: the file CURRENT names the
// subdirectory that is in force.
type Dir struct {
	path    string
	options Options
	engine  Engine
	current string
}

const currentFile = "CURRENT"

// OpenDir opens the engine that is in force, or makes the first one. What a replacement left half done is removed.
func OpenDir(path string, o Options) (*Dir, error) {
	d := &Dir{path: path, options: o}
	if err := o.fs().MkdirAll(path, 0o755); err != nil {
		return nil, fmt.Errorf("open store: %w", err)
	}
	current, err := d.readCurrent()
	switch {
	case errors.Is(err, fs.ErrNotExist):
		current = "store-1"
		if err := d.orphaned(); err != nil {
			return nil, err
		}
	case err != nil:
		return nil, fmt.Errorf("open store: %w", err)
	default:
		if _, err := o.fs().Stat(filepath.Join(path, current)); err != nil {
			return nil, fmt.Errorf("the store in %s is damaged: CURRENT names %s, which is not there; stop this node, remove it from the cluster, wipe its data directory, and let it join again", path, current)
		}
	}
	if err := d.removeOthers(current); err != nil {
		return nil, fmt.Errorf("open store: %w", err)
	}
	if d.engine, err = OpenPebble(filepath.Join(path, current), o); err != nil {
		return nil, err
	}
	if d.current == "" {
		if err := d.flip(current); err != nil {
			return nil, fmt.Errorf("open store: %w", err)
		}
	}
	return d, nil
}

// orphaned refuses a directory whose CURRENT is gone although a store is there that was in force.
func (d *Dir) orphaned() error {
	names, err := d.options.fs().List(d.path)
	if err != nil {
		return fmt.Errorf("open store: %w", err)
	}
	for _, name := range names {
		if strings.HasPrefix(name, "store-") && name != "store-1" {
			return fmt.Errorf("the store in %s is damaged: CURRENT is gone, and %s is there; stop this node, remove it from the cluster, wipe its data directory, and let it join again", d.path, name)
		}
	}
	return nil
}

// Engine returns the engine in force.
func (d *Dir) Engine() Engine { return d.engine }

// Replace builds another engine aside, makes it durable, flips to it, and closes and removes the old one. After an
// error the old one is still in force. Nobody may use the old engine while Replace runs or after.
func (d *Dir) Replace(build func(Engine) error) (Engine, error) {
	var number int
	if _, err := fmt.Sscanf(d.current, "store-%d", &number); err != nil {
		return nil, fmt.Errorf("replace store: CURRENT names %q: %w", d.current, err)
	}
	next := fmt.Sprintf("store-%d", number+1)
	dir := filepath.Join(d.path, next)
	if err := d.options.fs().RemoveAll(dir); err != nil {
		return nil, fmt.Errorf("replace store: %w", err)
	}
	engine, err := OpenPebble(dir, d.options)
	if err != nil {
		return nil, err
	}
	err = build(engine)
	if err == nil {
		err = engine.Sync()
	}
	if err == nil {
		err = d.flip(next)
	}
	if err != nil {
		return nil, errors.Join(fmt.Errorf("replace store: %w", err), engine.Close())
	}
	old := d.engine
	d.engine = engine
	if err := old.Close(); err != nil {
		return nil, fmt.Errorf("close the store that was replaced: %w", err)
	}
	return engine, d.removeOthers(next)
}

// Close closes the engine in force.
func (d *Dir) Close() error { return d.engine.Close() }

func (d *Dir) readCurrent() (string, error) {
	f, err := d.options.fs().Open(filepath.Join(d.path, currentFile))
	if err != nil {
		return "", err
	}
	b, err := io.ReadAll(f)
	if err := errors.Join(err, f.Close()); err != nil {
		return "", err
	}
	name := strings.TrimSuffix(string(b), "\n")
	if !strings.HasPrefix(name, "store-") || strings.ContainsAny(name, "/\\") || !strings.HasSuffix(string(b), "\n") {
		return "", fmt.Errorf("the store in %s is damaged: CURRENT says %q; stop this node, remove it from the cluster, wipe its data directory, and let it join again", d.path, b)
	}
	d.current = name
	return name, nil
}

// flip makes CURRENT name a subdirectory: written aside, synced, renamed, and the directory synced.
func (d *Dir) flip(name string) error {
	fsys := d.options.fs()
	aside := filepath.Join(d.path, currentFile+".tmp")
	f, err := fsys.Create(aside, vfs.WriteCategoryUnspecified)
	if err != nil {
		return err
	}
	_, err = f.Write([]byte(name + "\n"))
	if err == nil {
		err = f.Sync()
	}
	if err := errors.Join(err, f.Close()); err != nil {
		return err
	}
	if err := fsys.Rename(aside, filepath.Join(d.path, currentFile)); err != nil {
		return err
	}
	if err := d.syncDir(d.path); err != nil {
		return err
	}
	d.current = name
	// The directory's own name must be durable too, or the flip is lost with it.
	return d.syncDir(filepath.Dir(d.path))
}

func (d *Dir) syncDir(path string) error {
	dir, err := d.options.fs().OpenDir(path)
	if err != nil {
		return err
	}
	return errors.Join(dir.Sync(), dir.Close())
}

func (d *Dir) removeOthers(current string) error {
	names, err := d.options.fs().List(d.path)
	if err != nil {
		return err
	}
	for _, name := range names {
		if strings.HasPrefix(name, "store-") && name != current {
			if err := d.options.fs().RemoveAll(filepath.Join(d.path, name)); err != nil {
				return err
			}
		}
	}
	return nil
}
