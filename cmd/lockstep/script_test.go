package main

import (
	"os"
	"os/exec"
	"path/filepath"
	"testing"

	"github.com/rogpeppe/go-internal/testscript"
)

// Every script has the real binary, a namespace of its own, and one development node that all of them share.
func TestScripts(t *testing.T) {
	bin := commandDir(t)
	server := startDev(t).address
	testscript.Run(t, testscript.Params{
		Dir: "testdata/script",
		Setup: func(e *testscript.Env) error {
			namespace := filepath.Base(e.WorkDir)
			e.Setenv("PATH", bin+string(os.PathListSeparator)+os.Getenv("PATH"))
			e.Setenv(beLockstep, "1")
			e.Setenv("LOCKSTEP_SERVER", server)
			e.Setenv("LOCKSTEP_NAMESPACE", namespace)
			return exec.Command(filepath.Join(bin, "lockstep"), "namespace", "create", namespace, "--server", server).Run()
		},
	})
}
