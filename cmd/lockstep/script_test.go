package main

import (
	"bufio"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/rogpeppe/go-internal/testscript"
)

// Every script has the real binary, a namespace of its own, and one development node that all of them share.
func TestScripts(t *testing.T) {
	binary, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	bin := t.TempDir()
	if err := os.Symlink(binary, filepath.Join(bin, "lockstep")); err != nil {
		t.Fatal(err)
	}
	server := startDev(t, binary)
	testscript.Run(t, testscript.Params{
		Dir: "testdata/script",
		Setup: func(e *testscript.Env) error {
			namespace := filepath.Base(e.WorkDir)
			e.Setenv("PATH", bin+string(os.PathListSeparator)+os.Getenv("PATH"))
			e.Setenv(beLockstep, "1")
			e.Setenv("LOCKSTEP_SERVER", server)
			e.Setenv("LOCKSTEP_NAMESPACE", namespace)
			return exec.Command(binary, "namespace", "create", namespace, "--server", server).Run()
		},
	})
}

// startDev starts a node that ends with the test, and gives its address.
func startDev(t *testing.T, binary string) string {
	t.Helper()
	cmd := exec.Command(binary, "dev", "--listen", "127.0.0.1:0", "--data", t.TempDir(), "--until-stdin-ends")
	cmd.Stderr = os.Stderr
	stdin, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	stdout, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	lines := bufio.NewScanner(stdout)
	t.Cleanup(func() {
		_ = stdin.Close() // it ends by that
		for lines.Scan() {
		}
		if err := cmd.Wait(); err != nil {
			t.Errorf("the node ended with %v", err)
		}
	})
	for lines.Scan() {
		if _, rest, found := strings.Cut(lines.Text(), "Lockstep is up at http://"); found {
			address, _, _ := strings.Cut(rest, ",")
			return address
		}
	}
	t.Fatal("the node did not come up")
	return ""
}
