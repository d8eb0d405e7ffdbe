package main

import (
	"bytes"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/lockstep-dev/lockstep/cmd/lockstep/local"
	"github.com/lockstep-dev/lockstep/examples"
	"github.com/lockstep-dev/lockstep/jepsen/require"
)

// The lines of each example's README do what they say, as they stand there, next to a development node: its instances end as told
// here, and no line fails but those that show a failure.
func TestTheExamplesLinesRun(t *testing.T) {
	ends := map[string]struct{ instances, fails []string }{
		"order-fulfilment":    {[]string{"order-1 COMPLETED", "order-lost FAILED"}, []string{"instance start order-fulfilment --id order-lost"}},
		"customer-onboarding": {[]string{"ada COMPLETED"}, nil},
		"incident-handling":   {[]string{"inc-1 COMPLETED", "inc-2 COMPLETED"}, nil},
		"settlement":          {[]string{"friday COMPLETED", "monday COMPLETED", "nightly@2026-03-28T00:30:00Z COMPLETED", "sunday COMPLETED"}, nil},
		"two-engines":         {[]string{"pay-1 COMPLETED", "pay-2 COMPLETED", "pay-3 COMPLETED"}, nil},
	}
	if len(ends) != len(examples.Names()) {
		t.Errorf("there are %q", examples.Names())
	}
	for _, name := range examples.Names() {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			bash := require.Program(t, "bash")
			if name == "two-engines" {
				require.Program(t, "go") // its other engine is built
			}
			other, err := local.Addresses(1, 0) // of the other engine
			if err != nil {
				t.Fatal(err)
			}
			n := startDev(t, "--reporter-hosts", other[0])
			dir := filepath.Join("../../examples", name)
			cmd := exec.CommandContext(t.Context(), bash, "-c", "trap 'kill $(jobs -p); wait' EXIT\ntrap 'echo \"FAILS $BASH_COMMAND\"' ERR\n"+shellBlocks(t, dir)+"\nlockstep instance list")
			cmd.Dir = dir
			cmd.Env = append(os.Environ(), "no_proxy=*", "LOCKSTEP_SERVER=http://"+n.address, "MAINFRAME="+other[0], "PATH="+commandDir(t)+string(os.PathListSeparator)+os.Getenv("PATH"))
			out, err := cmd.CombinedOutput()
			if err != nil {
				t.Fatalf("%v\n%s", err, out)
			}
			var ended []string
			fails := slices.Clone(ends[name].fails)
			list := false // the last of what is printed
			for line := range strings.Lines(string(out)) {
				words := strings.Fields(line)
				switch {
				case strings.HasPrefix(line, "INSTANCE ") && strings.Contains(line, "WORKFLOW"):
					list = true
				case strings.HasPrefix(line, "FAILS "):
					if len(fails) == 0 || !strings.HasPrefix(line, "FAILS lockstep "+fails[0]) {
						t.Errorf("%s", line)
						continue
					}
					fails = fails[1:]
				case list && len(words) > 2: // what was stopped at the end may say so
					ended = append(ended, words[0]+" "+words[2])
				}
			}
			if slices.Sort(ended); !slices.Equal(ended, ends[name].instances) || len(fails) > 0 {
				t.Errorf("its instances are %q, not %q; it was to fail: %q\n%s", ended, ends[name].instances, fails, out)
			}
		})
	}
}

// shellBlocks are the fenced blocks of shell lines of an example's README.
func shellBlocks(t *testing.T, dir string) string {
	t.Helper()
	text, err := os.ReadFile(filepath.Join(dir, "README.md"))
	if err != nil {
		t.Fatal(err)
	}
	var blocks []string
	for _, after := range bytes.Split(text, []byte("\n```sh\n"))[1:] {
		block, _, closed := bytes.Cut(after, []byte("\n```"))
		if !closed {
			t.Fatal("a block does not end")
		}
		blocks = append(blocks, string(block))
	}
	return strings.Join(blocks, "\n")
}
