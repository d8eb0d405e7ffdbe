package check

import "slices"

// Keys checks what becomes of signals by key. Of one id under a key one thing is told, once. With nobody who has the key it is kept, and the
// first that is started with it takes it, before anything else happens to that; no other does. With one who has it that one has the
// signal, and a broadcast reaches all. What a signal starts is the only one with its key as long as it lives.
//
// Events do not tell who has which keys: operations do, whatever became of them.
func Keys(ops []*Op, events []Event) []Fact {
	c := keys{of: map[string][]string{}, sole: map[string]bool{}, live: map[string][]string{}, over: map[string]bool{}, told: map[[2]string]string{}, kept: map[string][]string{}, received: map[[2]string]bool{}}
	for _, op := range ops {
		switch {
		case op.Kind == "start" && len(op.Keys) > 0:
			c.of[op.Instance] = op.Keys
		case op.Kind == "message" && op.Starts != "":
			c.of[op.Starts], c.sole[op.Keys[0]] = op.Keys, true
		}
	}
	for _, e := range events {
		c.see(e)
	}
	for _, op := range ops {
		if op.Kind == "message" {
			c.answer(op)
		}
	}
	return c.f.list
}

// answer holds what a sender was told to what it can be told: what reached somebody did, and nobody is sent away for one who has ended.
func (c *keys) answer(op *Op) {
	reached := op.Outcome != OK || op.Instance == "" || c.received[[2]string{op.Instance, op.Signal}]
	refusable := op.Outcome != Refused || op.Code == "INSTANCE_EXISTS" && op.Starts != "" || op.Code == "KEY_AMBIGUOUS" && c.shared(op.Keys[0])
	switch {
	case !reached:
		c.f.add("S3", "signal %s by %s is told to have reached %s at %s, and the feed does not say so", op.Signal, op.Keys[0], op.Instance, op.Return)
	case !refusable:
		c.f.add("S4", "signal %s by %s is refused with %s at %s", op.Signal, op.Keys[0], op.Code, op.Return)
	}
}

// shared says whether several instances may ever have had a key at once.
func (c *keys) shared(key string) bool {
	count := 0
	for _, has := range c.of {
		if slices.Contains(has, key) {
			count++
		}
	}
	return count > 1 && !c.sole[key]
}

type keys struct {
	f        faults
	of       map[string][]string  // by instance
	sole     map[string]bool      // keys with which instances are started by signals alone
	live     map[string][]string  // who has a key
	told     map[[2]string]string // by key and id
	kept     map[string][]string  // under a key, oldest first
	received map[[2]string]bool   // by instance and id
	over     map[string]bool      // instances
	fresh    string               // who was just started, and may take what is kept
}

func (c *keys) see(e Event) {
	if c.fresh != "" && (e.Type != "signal.received" || e.Key == "" || e.Instance != c.fresh) {
		c.grown()
	}
	switch e.Type {
	case "instance.started":
		c.start(e)
	case "instance.completed", "instance.failed", "instance.cancelled":
		c.over[e.Instance] = true
		for _, k := range c.of[e.Instance] {
			c.live[k] = slices.DeleteFunc(c.live[k], func(id string) bool { return id == e.Instance })
		}
	case "signal.received":
		if c.over[e.Instance] {
			c.f.add("S1", "position %d: %s receives signal %s, and has ended", e.Position, e.Instance, e.Signal)
		}
		c.received[[2]string{e.Instance, e.Signal}] = true
		if e.Key != "" {
			c.take(e)
		}
	case "signal.kept", "signal.correlated", "signal.broadcast":
		c.tell(e)
	case "signal.expired":
		c.f.add("S6", "position %d: signal %s, kept under %s, is over, and was to be kept for days", e.Position, e.Signal, e.Key)
	}
}

func (c *keys) start(e Event) {
	for _, k := range c.of[e.Instance] {
		if c.sole[k] && len(c.live[k]) > 0 {
			c.f.add("S4", "position %d: a signal by %s starts %s, and %s lives", e.Position, k, e.Instance, c.live[k][0])
		}
		c.live[k] = append(c.live[k], e.Instance)
		c.fresh = e.Instance
	}
}

// grown: a new instance has taken what was kept for it.
func (c *keys) grown() {
	for _, k := range c.of[c.fresh] {
		if len(c.kept[k]) > 0 {
			c.f.add("S4", "%s is started, and signal %s stays under %s", c.fresh, c.kept[k][0], k)
		}
	}
	c.fresh = ""
}

// take sees a new instance take a signal that was kept.
func (c *keys) take(e Event) {
	waiting := c.kept[e.Key]
	switch {
	case e.Instance != c.fresh || !slices.Contains(c.of[e.Instance], e.Key):
		c.f.add("S1", "position %d: %s takes signal %s, kept under %s, and was not just started with that", e.Position, e.Instance, e.Signal, e.Key)
	case len(waiting) == 0 || waiting[0] != e.Signal:
		c.f.add("S1", "position %d: %s takes signal %s under %s, where %v are kept", e.Position, e.Instance, e.Signal, e.Key, waiting)
	}
	c.kept[e.Key] = slices.DeleteFunc(waiting, func(id string) bool { return id == e.Signal })
}

// tell sees what became of a signal.
func (c *keys) tell(e Event) {
	has := c.live[e.Key]
	if was := c.told[[2]string{e.Key, e.Signal}]; was != "" {
		c.f.add("S5", "position %d: %s %s by %s, which was told before: %s", e.Position, e.Type, e.Signal, e.Key, was)
	}
	c.told[[2]string{e.Key, e.Signal}] = e.Type
	switch {
	case e.Type == "signal.kept":
		if c.kept[e.Key] = append(c.kept[e.Key], e.Signal); len(has) > 0 {
			c.f.add("S4", "position %d: signal %s is kept under %s, which %s has", e.Position, e.Signal, e.Key, has[0])
		}
	case e.Type == "signal.correlated" && (len(has) != 1 || has[0] != e.Instance):
		c.f.add("S4", "position %d: signal %s by %s goes to %s, and those that have the key are %v", e.Position, e.Signal, e.Key, e.Instance, has)
	case e.Type == "signal.correlated":
		has = []string{e.Instance}
		fallthrough
	default:
		for _, id := range has {
			if !c.received[[2]string{id, e.Signal}] {
				c.f.add("S4", "position %d: %s %s by %s, and %s does not have it", e.Position, e.Type, e.Signal, e.Key, id)
			}
		}
	}
}
