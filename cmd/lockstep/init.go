package main

import (
	"embed"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	"github.com/spf13/cobra"
)

// starter is what `lockstep init` writes.
//
//go:embed starter
var starter embed.FS

func (c *cli) initCommand() *cobra.Command {
	return &cobra.Command{
		Use:   "init [DIR]",
		Short: "Write a workflow and a worker to start from",
		Args:  cobra.MaximumNArgs(1),
		RunE: func(_ *cobra.Command, args []string) error {
			dir := "."
			if len(args) > 0 {
				dir = args[0]
			}
			return c.writeStarter(dir)
		},
	}
}

// writeStarter writes both files or none, and never over what is there.
func (c *cli) writeStarter(dir string) error {
	files := [...]struct {
		name string
		mode fs.FileMode
	}{{"workflow.yaml", 0o644}, {"worker.sh", 0o755}}
	for _, f := range files {
		path := filepath.Join(dir, f.name)
		if _, err := os.Lstat(path); !errors.Is(err, fs.ErrNotExist) {
			return fmt.Errorf("%s is there already; name another directory: lockstep init DIR", path)
		}
	}
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return fmt.Errorf("write starter: %w", err)
	}
	for _, f := range files {
		text, err := starter.ReadFile("starter/" + f.name)
		if err != nil {
			return fmt.Errorf("write starter: %w", err)
		}
		path := filepath.Join(dir, f.name)
		if err := os.WriteFile(path, text, f.mode); err != nil {
			return fmt.Errorf("write starter: %w", err)
		}
		fmt.Fprintln(c.stdout, "wrote", path)
	}
	fmt.Fprintln(c.stdout, "next:  lockstep dev   and then what workflow.yaml says on top")
	return nil
}
