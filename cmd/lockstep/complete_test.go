package main

import (
	"bytes"
	"os"
	"os/exec"
	"slices"
	"strings"
	"testing"

	"github.com/lockstep-dev/lockstep/jepsen/require"
)

// bashCompletes has a real shell complete the last of the words, with what `lockstep completion bash` printed.
const bashCompletes = `
# What the package bash-completion has for it: cut the line into words.
_get_comp_words_by_ref() { cur=${COMP_WORDS[COMP_CWORD]} prev=${COMP_WORDS[COMP_CWORD-1]} words=("${COMP_WORDS[@]}") cword=$COMP_CWORD; }
compopt() { :; } # is for a completion that was asked for by a key
source <(lockstep completion bash)
COMP_WORDS=("$@") COMP_CWORD=$(($# - 1)) COMP_LINE="$*" COMP_TYPE=9; COMP_POINT=${#COMP_LINE}
__start_lockstep
printf '%s\n' "${COMPREPLY[@]}"
`

// A shell completes commands and flags.
func TestTheShellCompletes(t *testing.T) {
	t.Parallel()
	bash := require.Program(t, "bash")
	bin := commandDir(t)
	for line, want := range map[string]string{
		"lockstep inst":          "instance",
		"lockstep instance expl": "explain",
		"lockstep cluster ":      "down kill pause resume status up",
		"lockstep server --boot": "--bootstrap-expect",
	} {
		cmd := exec.CommandContext(t.Context(), bash, append([]string{"-c", bashCompletes, "bash"}, strings.Split(line, " ")...)...)
		cmd.Env = append(os.Environ(), "PATH="+bin+string(os.PathListSeparator)+os.Getenv("PATH"))
		var stdout, stderr bytes.Buffer
		cmd.Stdout, cmd.Stderr = &stdout, &stderr
		if err := cmd.Run(); err != nil {
			t.Fatalf("%q: %v\n%s", line, err, &stderr)
		}
		var got []string
		for _, completion := range strings.Split(strings.TrimSpace(stdout.String()), "\n") {
			name, _, _ := strings.Cut(strings.TrimSpace(completion), " ")
			got = append(got, strings.TrimSuffix(name, "="))
		}
		slices.Sort(got)
		if strings.Join(got, " ") != want {
			t.Errorf("%q completes to %q, not %q\n%s", line, got, want, &stderr)
		}
	}
}
