// Command list prints the bugs that can be planted: name, guarantee, and what each does, by tab.
package main

import (
	"fmt"

	"github.com/lockstep-dev/lockstep/jepsen/plant"
)

func main() {
	for _, row := range plant.All {
		fmt.Printf("%s\t%s\t%s\n", row.Bug, row.Guarantee, row.What)
	}
}
