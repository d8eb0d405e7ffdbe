package sound

import "testing"

// A definition of 10,000 steps: what the check adds to its registration, which parses it.
func BenchmarkCheck(b *testing.B) {
	for name, text := range map[string]string{"chained": chained(5000), "wide": wide(4990, 1)} {
		d := parse(b, text)
		b.Run(name, func(b *testing.B) {
			for b.Loop() {
				Check(d.Checked)
			}
		})
		b.Run(name+"/parse", func(b *testing.B) {
			for b.Loop() {
				parse(b, text)
			}
		})
	}
}
