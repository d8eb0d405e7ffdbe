package cluster

import (
	"crypto/rand"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"syscall"
)

// identity is what a data directory says of itself. A wiped disk is a new node: the id goes with the data.
type identity struct {
	Node   string `json:"node"`
	Format int    `json:"format"`
	// Groups are those whose log was made: without it a node would come back with its id and without its votes.
	Groups []string `json:"groups,omitempty"`
}

const dataFormat = 3

const identityFile = "IDENTITY"

// lockDir takes the data directory for this process, before anything in it is opened.
func lockDir(dir string) (*os.File, error) {
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return nil, fmt.Errorf("open data directory: %w", err)
	}
	f, err := os.OpenFile(filepath.Join(dir, "LOCK"), os.O_CREATE|os.O_RDWR, 0o600)
	if err != nil {
		return nil, fmt.Errorf("lock data directory: %w", err)
	}
	if err := syscall.Flock(int(f.Fd()), syscall.LOCK_EX|syscall.LOCK_NB); err != nil {
		return nil, errors.Join(fmt.Errorf("data directory %s is in use by another process", dir), f.Close())
	}
	return f, nil
}

// readIdentity reads the directory's identity, or makes one for a new directory: the name, if there is one, and a random
// part always. A node that lost its data has lost its votes too, and must not come back under an id that the others count
// on; so no id can be made twice.
func readIdentity(dir, node string) (identity, error) {
	path := filepath.Join(dir, identityFile)
	b, err := os.ReadFile(path)
	if errors.Is(err, fs.ErrNotExist) {
		if err := empty(dir); err != nil {
			return identity{}, err
		}
		if node == "" {
			node = "n"
		}
		id := identity{Node: randomID(node + "-"), Format: dataFormat}
		return id, writeIdentity(dir, id)
	}
	if err != nil {
		return identity{}, fmt.Errorf("read identity: %w", err)
	}
	var id identity
	if err := json.Unmarshal(b, &id); err != nil || id.Node == "" {
		return identity{}, fmt.Errorf("%s is damaged: it does not say which node this is; restore the file, or wipe the data directory and let the node join again", path)
	}
	switch {
	case id.Format != dataFormat:
		return identity{}, fmt.Errorf("%s has format %d, this binary reads %d", dir, id.Format, dataFormat)
	case node != "" && node != id.Node && !strings.HasPrefix(id.Node, node+"-"):
		return identity{}, fmt.Errorf("%s belongs to node %s, not %s; give another --data, or leave --node-id out", dir, id.Node, node)
	}
	return id, nil
}

// empty refuses a directory that has data and no identity.
func empty(dir string) error {
	if _, err := os.Stat(filepath.Join(dir, "groups")); err == nil {
		return fmt.Errorf("%s has data and no IDENTITY; restore the file, or wipe the directory and let the node join again", dir)
	}
	return nil
}

func writeIdentity(dir string, id identity) error {
	b, err := json.Marshal(id)
	if err != nil {
		return err
	}
	if err := writeFile(filepath.Join(dir, identityFile), append(b, '\n')); err != nil {
		return fmt.Errorf("write identity: %w", err)
	}
	return nil
}

// writeFile replaces a file durably: written aside, synced, renamed, and the directory synced.
func writeFile(path string, b []byte) error {
	f, err := os.Create(path + ".tmp")
	if err != nil {
		return err
	}
	_, err = f.Write(b)
	if err == nil {
		err = f.Sync()
	}
	if err := errors.Join(err, f.Close()); err != nil {
		return err
	}
	if err := os.Rename(path+".tmp", path); err != nil {
		return err
	}
	return syncDir(filepath.Dir(path))
}

func syncDir(path string) error {
	d, err := os.Open(path)
	if err != nil {
		return err
	}
	return errors.Join(d.Sync(), d.Close())
}

// makeDir makes a directory whose name is durable.
func makeDir(path string) error {
	if err := os.MkdirAll(path, 0o755); err != nil {
		return err
	}
	return syncDir(filepath.Dir(path))
}

func randomID(prefix string) string {
	var b [4]byte
	rand.Read(b[:])
	return prefix + hex.EncodeToString(b[:])
}
