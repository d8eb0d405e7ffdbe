package sound

import (
	"fmt"
	"strings"
)

// dense is steps each of which needs all before it.
func dense(n int) string {
	return steps(n, func(i int, before []string) string { return fmt.Sprintf("{needs: [%s]}", strings.Join(before, ", ")) })
}

// quorums is steps each of which needs half of those before it, as any ends.
func quorums(n int) string {
	return steps(n, func(i int, before []string) string {
		if i < 2 {
			return "{}"
		}
		return fmt.Sprintf("{needs: [%s], join: {atLeast: %d}}", strings.Join(before, ", "), (i+1)/2)
	})
}

// early is a chain of steps that go on with one of two, and read the other.
func early(n int) string {
	return steps(n, func(i int, before []string) string {
		if i < 2 {
			return "{}"
		}
		return fmt.Sprintf("{needs: [s%d, s%d], join: any, input: \"${steps.s%d.output}\"}", i-1, i-2, i-1)
	})
}

// dead is steps of which none runs, for each needs one that cannot fail to fail.
func dead(n int) string {
	return steps(n, func(i int, _ []string) string {
		if i == 0 {
			return "{timer: {after: 1s}}"
		}
		return fmt.Sprintf("{needs: [{step: s%d, ends: failed}], timer: {after: 1s}}", i-1)
	})
}

// left is waits of which any of many is enough, many times.
func left(n int) string {
	var b strings.Builder
	b.WriteString("workflow: w\nsteps:\n")
	var waits []string
	for i := range n * 10 {
		fmt.Fprintf(&b, "  w%d: {await: {instance: x}}\n", i)
		waits = append(waits, fmt.Sprint("w", i))
	}
	for i := range n {
		fmt.Fprintf(&b, "  q%d: {needs: [%s], join: {atLeast: %d}}\n", i, strings.Join(waits, ", "), 1+i)
	}
	return b.String()
}

// calls is a chain of calls each of which has one behind its failure, and reads the one before.
func calls(n int) string {
	return steps(n, func(i int, _ []string) string {
		if i == 0 {
			return "{call: {workflow: w}}"
		}
		return fmt.Sprintf("{needs: [s%d], call: {workflow: w}, input: \"${steps.s%d.output}\"}\n  f%d: {needs: [{step: s%d, ends: failed}]}", i-1, i-1, i, i-1)
	})
}

// deep is so many bodies inside each other, with so many steps in each.
func deep(depth, n int) string {
	var b strings.Builder
	b.WriteString("workflow: w\nsteps:\n")
	indent := "  "
	for d := range depth {
		for i := range n {
			fmt.Fprintf(&b, "%sd%d_%d: {}\n", indent, d, i)
		}
		fmt.Fprintf(&b, "%sf%d: {needs: [{step: d%d_0, ends: failed, codes: [A]}]}\n%sb%d:\n%s  scope:\n%s    steps:\n", indent, d, d, indent, d, indent, indent)
		indent += "      "
	}
	fmt.Fprintf(&b, "%slast: {}\n", indent)
	return b.String()
}

func steps(n int, step func(i int, before []string) string) string {
	var b strings.Builder
	b.WriteString("workflow: w\nsteps:\n")
	var before []string
	for i := range n {
		fmt.Fprintf(&b, "  s%d: %s\n", i, step(i, before))
		before = append(before, fmt.Sprint("s", i))
	}
	return b.String()
}
