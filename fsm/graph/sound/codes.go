package sound

import (
	"maps"

	"github.com/lockstep-dev/lockstep/fsm/graph"
)

// codes are those with which a step can fail: some, or all but some.
type codes struct {
	allBut bool
	some   map[string]bool
}

func these(list ...string) codes {
	c := codes{some: map[string]bool{}}
	for _, code := range list {
		c.some[code] = true
	}
	return c
}

// anything is every code.
func anything() codes { return codes{allBut: true, some: map[string]bool{}} }

func (c codes) has(code string) bool { return c.some[code] != c.allBut }

// other says whether there is a code that is none of those named.
func (c codes) other(named map[string]bool) bool {
	if c.allBut {
		return true
	}
	for code := range c.some {
		if !named[code] {
			return true
		}
	}
	return false
}

func (c codes) none() bool { return !c.allBut && len(c.some) == 0 }

// add makes c the union of both.
func (c *codes) add(o codes) {
	switch {
	case c.allBut && o.allBut:
		maps.DeleteFunc(c.some, func(code string, _ bool) bool { return !o.some[code] })
	case c.allBut:
		maps.DeleteFunc(c.some, func(code string, _ bool) bool { return o.some[code] })
	case o.allBut:
		but := map[string]bool{}
		for code := range o.some {
			if !c.some[code] {
				but[code] = true
			}
		}
		*c = codes{true, but}
	default:
		maps.Copy(c.some, o.some)
	}
}

// unneeded are those of a node's codes by which what it is in fails, for no step needs them.
func (c codes) unneeded(n *graph.Node) codes {
	left := codes{c.allBut, maps.Clone(c.some)}
	for k := range n.Successors {
		e := &n.Successors[k]
		switch {
		case e.Ends&graph.EndsFailed == 0:
		case len(e.Codes) == 0:
			return these()
		default:
			for _, code := range e.Codes {
				if left.allBut {
					left.some[code] = true
				} else {
					delete(left.some, code)
				}
			}
		}
	}
	return left
}
