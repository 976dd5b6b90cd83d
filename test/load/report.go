package main

import (
	"encoding/json"
	"fmt"
	"io"
	"os"
	"runtime"
	"text/tabwriter"
	"time"

	"github.com/HdrHistogram/hdrhistogram-go"
)

// figure is one measured number. Ratio is how well it meets its target: 1 and above is met, for figures that should
// be high and for those that should be low alike.
type figure struct {
	Workload string  `json:"workload"`
	Name     string  `json:"name"`
	Value    float64 `json:"value"`
	Unit     string  `json:"unit"`
	Target   float64 `json:"target,omitempty"`
	Lower    bool    `json:"lower_is_better,omitempty"`
	Ratio    float64 `json:"ratio,omitempty"`
}

// report collects the figures of a run.
type report struct {
	At      time.Time `json:"at"`
	Go      string    `json:"go"`
	CPUs    int       `json:"cpus"`
	Figures []figure  `json:"figures"`
}

func newReport() *report {
	return &report{At: time.Now().UTC(), Go: runtime.Version(), CPUs: runtime.NumCPU()}
}

// high adds a figure that should be at least target; a target of 0 is none.
func (r *report) high(workload, name string, value float64, unit string, target float64) {
	f := figure{Workload: workload, Name: name, Value: value, Unit: unit, Target: target}
	if target > 0 {
		f.Ratio = value / target
	}
	r.Figures = append(r.Figures, f)
}

// low adds a figure that should be at most target; a target of 0 is none.
func (r *report) low(workload, name string, value float64, unit string, target float64) {
	f := figure{Workload: workload, Name: name, Value: value, Unit: unit, Target: target, Lower: true}
	if target > 0 && value > 0 {
		f.Ratio = target / value
	}
	r.Figures = append(r.Figures, f)
}

// latency adds the median and the 99th percentile of a histogram of microseconds, in milliseconds.
func (r *report) latency(workload string, h *hdrhistogram.Histogram, p50, p99 float64) {
	const perMilli = 1000
	r.low(workload, "p50", float64(h.ValueAtQuantile(50))/perMilli, "ms", p50)
	r.low(workload, "p99", float64(h.ValueAtQuantile(99))/perMilli, "ms", p99)
}

// print writes the table.
func (r *report) print(w io.Writer) error {
	t := tabwriter.NewWriter(w, 0, 8, 2, ' ', 0)
	fmt.Fprintln(t, "workload\tfigure\tvalue\tunit\ttarget\tratio (≥ 1 is met)")
	for _, f := range r.Figures {
		target, ratio := "", ""
		if f.Target > 0 {
			target = "≥ " + number(f.Target)
			if f.Lower {
				target = "≤ " + number(f.Target)
			}
			ratio = fmt.Sprintf("%.2f", f.Ratio)
		}
		fmt.Fprintf(t, "%s\t%s\t%s\t%s\t%s\t%s\n", f.Workload, f.Name, number(f.Value), f.Unit, target, ratio)
	}
	return t.Flush()
}

func number(v float64) string {
	switch {
	case v >= 1000:
		return fmt.Sprintf("%.0f", v)
	case v >= 10:
		return fmt.Sprintf("%.1f", v)
	}
	return fmt.Sprintf("%.3g", v)
}

func (r *report) save(path string) error {
	raw, err := json.MarshalIndent(r, "", "  ")
	if err != nil {
		return err
	}
	return os.WriteFile(path, append(raw, '\n'), 0o644)
}
