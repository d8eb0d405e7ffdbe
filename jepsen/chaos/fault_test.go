package main

import (
	"slices"
	"testing"
)

func TestFaultsThatOverlapLeaveAMajority(t *testing.T) {
	one, whole, takes := fault{name: "one"}, fault{name: "whole", whole: true}, fault{name: "takes", takes: true}
	for _, x := range []struct{ bag, want []fault }{
		{[]fault{one, one, one}, []fault{one, one, one}},
		{[]fault{whole, one}, []fault{whole}},
		{[]fault{one, whole}, []fault{one}},
		{[]fault{takes, one, takes}, []fault{takes, one}},
		{[]fault{one, takes, one}, []fault{one, takes, one}},
	} {
		if got := names(together(x.bag)); !slices.Equal(got, names(x.want)) {
			t.Errorf("of %v, %v go together; want %v", names(x.bag), got, names(x.want))
		}
	}
}

func TestEveryFaultHasANameOfItsOwn(t *testing.T) {
	all := names(faults)
	slices.Sort(all)
	if len(slices.Compact(slices.Clone(all))) != len(all) {
		t.Errorf("faults %v", all)
	}
}

func names(some []fault) (out []string) {
	for _, f := range some {
		out = append(out, f.name)
	}
	return out
}
