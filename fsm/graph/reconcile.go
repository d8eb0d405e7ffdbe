package graph

import (
	"slices"
	"strings"
)

// Reconcile says what a plan does about drift of a step's runs, by class: what was observed of them elsewhere is not what is recorded. A class
// of which it says nothing is left to a person.
type Reconcile []ReconcileRule

// ReconcileRule is a class, or none for all, and an action.
type ReconcileRule struct{ Class, Action string }

// reconcileClasses are the classes of drift, in the order of the canonical form. An orphan is of no step.
func reconcileClasses() []string {
	return []string{"ahead", "behind", "missing", "duplicate", "conflicting"}
}

// reconcileActions are what can be done about a class: what has ended here is not adopted, nor done again.
func reconcileActions(class string) []string {
	switch class {
	case "", "ahead":
		return []string{"adopt", "rerun", "compensate", "incident", "ignore"}
	case "missing":
		return []string{"rerun", "compensate", "incident", "ignore"}
	}
	return []string{"compensate", "incident", "ignore"}
}

// Action is what to do about drift of a class; empty when nothing is said of it.
func (r Reconcile) Action(class string) string {
	for _, rule := range r {
		if rule.Class == "" || rule.Class == class {
			return rule.Action
		}
	}
	return ""
}

func (r *reader) reconcile(path string, o Object) Reconcile {
	v, ok := o.Get("reconcile")
	if !ok {
		return nil
	}
	path = At(path, "reconcile")
	if s, is := v.(string); is {
		r.reconcileAction(path, "", s)
		return Reconcile{{Action: s}}
	}
	m, ok := r.object(path, v, "reconcile is an action, or a mapping from classes of drift to actions")
	if !ok {
		return nil
	}
	r.known(path, m, reconcileClasses()...)
	if len(m) == 0 {
		r.refuse(path, "reconcile is empty; remove it, or say what to do about a class of drift: %s", strings.Join(reconcileClasses(), ", "))
	}
	var rules Reconcile
	for _, class := range reconcileClasses() {
		if v, ok := m.Get(class); ok {
			if s, ok := r.text(At(path, class), v); ok {
				r.reconcileAction(At(path, class), class, s)
				rules = append(rules, ReconcileRule{class, s})
			}
		}
	}
	return rules
}

func (r *reader) reconcileAction(path, class, action string) {
	if can := reconcileActions(class); !slices.Contains(can, action) {
		what := "drift"
		if class != "" {
			what = "what is " + class
		}
		r.refuse(path, "%q is nothing that can be done about %s: %s", action, what, strings.Join(can, ", "))
	}
}

// canonical is an action for all classes, or those that are said.
func (r Reconcile) canonical() any {
	if len(r) == 1 && r[0].Class == "" {
		return r[0].Action
	}
	var o Object
	for _, rule := range r {
		o = append(o, Member{rule.Class, rule.Action})
	}
	return o
}
