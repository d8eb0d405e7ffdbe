package main

import (
	"fmt"

	"github.com/spf13/cobra"

	"github.com/lockstep-dev/lockstep/jepsen/plant"
)

// plantFlag is how a command is told to plant a bug, in a build that holds them: to show that the checkers see it.
func plantFlag(cmd *cobra.Command, bug *string) {
	cmd.Flags().StringVar(bug, "plant", "", "plant a bug, in a build with -tags sabotage: to show that it is seen")
}

// setPlant plants a bug in this process.
func setPlant(bug string) error {
	if err := plant.Set(bug); err != nil {
		return usage("--plant %s: %v", bug, err)
	}
	return nil
}

// plantArgs are the arguments by which servers plant a bug: none without one. A bug that they would refuse is refused.
func plantArgs(bug string) ([]string, error) {
	if bug == "" {
		return nil, nil
	}
	if err := setPlant(bug); err != nil {
		return nil, err
	}
	return []string{fmt.Sprint("--plant=", bug)}, nil
}
