// Command record appends one result to jepsen/RESULTS.md, or adds up what is there.
//
//	go run ./jepsen/results/record layer=simulation 'command=scripts/sim 60 1500 1' operations=106509 wall=6s verdict=pass
//	go run ./jepsen/results/record --built       what is built now, for built=
//	go run ./jepsen/results/record --totals
package main

import (
	"fmt"
	"io"
	"os"
	"strings"
	"text/tabwriter"

	"github.com/lockstep-dev/lockstep/jepsen/results"
)

func main() {
	if err := run(os.Args[1:], os.Stdout); err != nil {
		fmt.Fprintln(os.Stderr, "record:", err)
		os.Exit(1)
	}
}

func run(args []string, out io.Writer) error {
	if len(args) == 1 && args[0] == "--totals" {
		return totals(out)
	}
	built, err := results.Building(".")
	if err != nil {
		return err
	}
	if len(args) == 1 && args[0] == "--built" {
		_, err := fmt.Fprintln(out, built)
		return err
	}
	row := results.Row{}
	for _, arg := range args {
		name, value, ok := strings.Cut(arg, "=")
		if !ok {
			return fmt.Errorf("%q is not column=value", arg)
		}
		if name == "built" {
			if built, err = results.ParseBuilt(value); err != nil {
				return err
			}
			continue
		}
		row[name] = value
	}
	return results.Append(".", built, row)
}

func totals(out io.Writer) error {
	all, err := results.Totals(".")
	if err != nil {
		return err
	}
	t := tabwriter.NewWriter(out, 0, 4, 2, ' ', 0)
	fmt.Fprintln(t, "LAYER\tRUNS\tVOID\tOPERATIONS\tADVANCES\tLEADER CHANGES\tWORKER PAUSES\tLATE WRITES\tSIMULATED\tCPU\tWALL\tFAILED")
	for _, x := range all {
		fmt.Fprintf(t, "%s\t%d\t%d\t%d\t%d\t%d\t%d\t%d\t%s\t%s\t%s\t%d\n",
			x.Layer, x.Rows, x.Void, x.Operations, x.Advances, x.Leaders, x.Pauses, x.Late, x.Simulated, x.CPU, x.Wall, x.Failed)
	}
	return t.Flush()
}
