package sim

// register is something outside that steps write to. It keeps the highest token for each key, and refuses lower ones.
type register struct {
	w      *world
	at     *process
	values map[string]int64
}

// write brings a value to the register; done hears whether it was taken. Like any service, it may not answer: then the
// writer asks again.
func (r *register) write(c *client, key string, token int64, done func(taken bool)) {
	answered := false
	var try func()
	try = func() {
		r.w.net.send(c.process, r.at, func() {
			taken := token >= r.values[key]
			if taken {
				r.values[key] = token
			} else {
				r.w.report.Fenced++
			}
			r.w.net.send(r.at, c.process, func() {
				if !answered {
					answered = true
					done(taken)
				}
			})
		})
		r.w.by(c.process, c.sleep(rpcLimit), func() {
			if !answered {
				try()
			}
		})
	}
	try()
}
