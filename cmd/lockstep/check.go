package main

import (
	"errors"
	"fmt"
	"strconv"
	"strings"

	"github.com/spf13/cobra"

	"github.com/lockstep-dev/lockstep/fsm/graph/sound"
	"github.com/lockstep-dev/lockstep/fsm/graph/source"
	v1 "github.com/lockstep-dev/lockstep/proto/gen/lockstep/v1"
	"github.com/lockstep-dev/lockstep/transport/api"
)

// workflowCheck does what registering does before it asks a cluster, and asks none.
func (c *cli) workflowCheck() *cobra.Command {
	var strict bool
	cmd := &cobra.Command{
		Use: "check FILE", Short: "Check a definition without a cluster", Args: cobra.ExactArgs(1),
		Long: "Check a definition without a cluster: that it can be registered, and what cannot go well with it. The status is 1 when it cannot be " +
			"registered, or something never goes well; with --strict also when something may not, or the check gave up.",
		RunE: func(_ *cobra.Command, args []string) error {
			text, err := c.readFile(args[0])
			if err != nil {
				return err
			}
			d, err := source.Parse(text, "yaml")
			if err != nil {
				return fmt.Errorf("%s: %w", args[0], err)
			}
			s := api.Soundness(sound.Check(d.Checked), d.Line)
			err = c.print(s, func() {
				fmt.Fprintf(c.stdout, "%s, %d steps\n", d.Name, d.Steps)
				c.printSoundness(s)
			})
			return errors.Join(err, verdict(s, strict))
		},
	}
	cmd.Flags().BoolVar(&strict, "strict", false, "status 1 also for what may not go well, and when the check gave up")
	return cmd
}

// verdict is the status of a check.
func verdict(s *v1.Soundness, strict bool) error {
	bad := strict && s.Verdict != v1.SoundnessVerdict_SOUNDNESS_VERDICT_SOUND
	for _, f := range s.Findings {
		bad = bad || f.Always
	}
	if bad {
		return &exitError{code: exitFailed}
	}
	return nil
}

// printSoundness shows what a check found; a node of before it says nothing.
func (c *cli) printSoundness(s *v1.Soundness) {
	for _, f := range s.GetFindings() {
		what := "the output"
		if f.Step != "" {
			what = "step " + strconv.Quote(f.Step)
		}
		fmt.Fprintf(c.stdout, "%s  line %d, %s: %s\n", strings.TrimPrefix(f.Code.String(), "FINDING_CODE_"), f.Line, what, f.Sentence)
		for _, line := range f.Witness {
			fmt.Fprintf(c.stdout, "  when %s\n", line)
		}
	}
	switch s.GetVerdict() {
	case v1.SoundnessVerdict_SOUNDNESS_VERDICT_SOUND:
		fmt.Fprintln(c.stdout, "sound")
	case v1.SoundnessVerdict_SOUNDNESS_VERDICT_NOT_CHECKED:
		fmt.Fprintf(c.stdout, "cannot be told: the check gave up at step %q, line %d, after %d states, and says nothing of what comes behind; "+
			"what is inside a scope, or in a workflow that is called, is checked by itself\n", s.Step, s.Line, s.States)
	}
}
