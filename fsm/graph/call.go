package graph

// Call is what a call step starts: an instance of another workflow.
type Call struct {
	Workflow string
	Version  int32 // zero is the newest when the step is begun
	Detach   bool  // it is started, and not waited for
	Abandon  bool  // it lives on when the step ends before it
}

func (r *reader) call(path string, v any) Call {
	o, ok := r.object(path, v, "call is a mapping {workflow, version, detach, parentClose}")
	if !ok {
		return Call{}
	}
	r.known(path, o, "workflow", "version", "detach", "parentClose")
	c := Call{Workflow: r.name(path, o, "workflow", "")}
	if v, ok := o.Get("version"); ok {
		c.Version = int32(r.integer(At(path, "version"), v, 1, 1<<31-1))
	}
	if v, ok := o.Get("detach"); ok {
		c.Detach = r.boolean(At(path, "detach"), v)
	}
	switch v, ok := o.Get("parentClose"); {
	case !ok || v == "cancel" && !c.Detach:
	case c.Detach:
		r.refuseKey(At(path, "parentClose"), "what is detached lives on whatever becomes of the step; remove parentClose, or detach")
	case v == "abandon":
		c.Abandon = true
	default:
		r.refuse(At(path, "parentClose"), "parentClose is cancel or abandon, not %s", describe(v))
	}
	return c
}

func (c *Call) canonical() Object {
	o := Object{{"workflow", c.Workflow}}
	if c.Version > 0 {
		o = append(o, Member{"version", int64(c.Version)})
	}
	if c.Detach {
		o = append(o, Member{"detach", true})
	}
	if c.Abandon {
		o = append(o, Member{"parentClose", "abandon"})
	}
	return o
}

// Started is the output of a step that started an instance and does not wait for it, as JSON.
func Started(id string) []byte {
	json, err := encodeValue(Object{{"instanceId", id}}, maxResult)
	if err != nil { // an id has its bounds
		return []byte("{}")
	}
	return json
}

// Before says whether a node is another of its scope, or upstream of it: whether the other waits for it.
func (g *Graph) Before(node, other int) bool {
	if g.Nodes[node].Scope != g.Nodes[other].Scope {
		return false
	}
	seen := map[int]bool{}
	for list := []int{other}; len(list) > 0; {
		last := list[len(list)-1]
		if list = list[:len(list)-1]; last == node {
			return true
		}
		for _, need := range g.Nodes[last].Needs {
			if !seen[need] {
				seen[need] = true
				list = append(list, need)
			}
		}
	}
	return false
}
