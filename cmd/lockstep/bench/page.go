package bench

import (
	_ "embed"
	"fmt"
	"html/template"
	"io"
	"math"
	"slices"
	"strings"
)

//go:embed page.html
var page string

// WriteHTML writes the report as a page to look at: throughput by second, latencies by quantile, and every figure. It
// needs nothing but itself.
func (r *Report) WriteHTML(w io.Writer) error {
	t, err := template.New("bench").Parse(page)
	if err != nil {
		return err
	}
	return t.Execute(w, map[string]any{"Report": r, "Spread": fmt.Sprintf("%.0f %%", 100*r.Spread()), "Charts": []chart{throughputChart(r.Throughput), latencyChart(r.Latencies)}})
}

// chart is a picture in pixels: its inside is chartWidth by chartHeight.
type chart struct {
	Title, Below string
	Across, Up   []mark // ticks
	Lines        []line
	Legend       []mark
}

type mark struct {
	At    float64
	Text  string
	Color string
}

type line struct{ Color, Points, Title string }

const (
	chartWidth  = 900
	chartHeight = 260
)

// colors tell curves apart, also for who sees few of them (Okabe and Ito, "Color Universal Design", 2008).
var colors = []string{"#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9", "#000000"}

func throughputChart(curves []Curve) chart {
	c := chart{Title: "Done in a second", Below: "seconds since the measurement began"}
	longest, most := 1.0, 1.0
	for _, curve := range curves {
		for _, p := range curve.Points {
			longest, most = max(longest, p.X), max(most, p.Y)
		}
	}
	for _, x := range steps10(longest) {
		c.Across = append(c.Across, mark{At: chartWidth * x / longest, Text: short(x)})
	}
	for _, y := range steps10(most) {
		c.Up = append(c.Up, mark{At: chartHeight - chartHeight*y/most, Text: short(y)})
	}
	c.draw(curves, func(p Point) (x, y float64) { return chartWidth * p.X / longest, chartHeight - chartHeight*p.Y/most })
	return c
}

// nines places a quantile so that each nine takes as much room as the one before.
func nines(q float64) float64 { return min(-math.Log10(max(1-q, 1e-5)), 5) / 5 * chartWidth }

func latencyChart(curves []Curve) chart {
	c := chart{Title: "Milliseconds, by quantile", Below: "quantile"}
	for _, q := range []float64{0, 50, 90, 99, 99.9, 99.99, 100} {
		c.Across = append(c.Across, mark{At: nines(q / 100), Text: short(q) + " %"})
	}
	low, high := math.Inf(1), math.Inf(-1)
	for _, curve := range curves {
		for _, p := range curve.Points {
			low, high = min(low, p.Y), max(high, p.Y)
		}
	}
	bottom, top := math.Floor(math.Log10(max(min(low, high), 0.001))), math.Ceil(math.Log10(max(high, 0.01)))
	top = max(top, bottom+1)
	up := func(ms float64) float64 {
		return chartHeight - chartHeight*(math.Log10(max(ms, math.Pow(10, bottom)))-bottom)/(top-bottom)
	}
	for e := bottom; e <= top; e++ {
		c.Up = append(c.Up, mark{At: up(math.Pow(10, e)), Text: short(math.Pow(10, e))})
	}
	c.draw(curves, func(p Point) (x, y float64) { return nines(p.X), up(p.Y) })
	return c
}

// draw adds the curves: one color for a name, whichever run it is of.
func (c *chart) draw(curves []Curve, place func(Point) (x, y float64)) {
	all := names(curves)
	for i, name := range all {
		c.Legend = append(c.Legend, mark{At: float64(16 * i), Text: name, Color: colors[i%len(colors)]})
	}
	for _, curve := range curves {
		var points []string
		for _, p := range curve.Points {
			x, y := place(p)
			points = append(points, fmt.Sprintf("%.1f,%.1f", x, y))
		}
		color := colors[slices.Index(all, curve.Name)%len(colors)]
		c.Lines = append(c.Lines, line{color, strings.Join(points, " "), fmt.Sprintf("%s, run %d", curve.Name, curve.Run)})
	}
}

// steps10 are round numbers from zero to at most a number, some five of them.
func steps10(to float64) (out []float64) {
	step := math.Pow(10, math.Floor(math.Log10(to)))
	switch {
	case to/step < 2:
		step /= 5
	case to/step < 5:
		step /= 2
	}
	for x := 0.0; x <= to; x += step {
		out = append(out, x)
	}
	return out
}

func short(x float64) string { return fmt.Sprintf("%.6g", x) }
