package observe

import "github.com/prometheus/client_golang/prometheus"

// Kind says how a number moves.
type Kind int

// The kinds of metrics that Stats can tell.
const (
	Counter Kind = iota + 1 // only rises, from the start of the process
	Gauge                   // a present size
)

// Metric is one number in a snapshot S. Name is without the namespace; a counter's ends in _total, and units are
// seconds and bytes.
type Metric[S any] struct {
	Name  string
	Help  string
	Kind  Kind
	Value func(S) float64
}

// Stats adds the numbers that another part of the server keeps. read is called once a scrape and must be cheap and safe
// for concurrent use. A name that is taken or malformed panics: that is a mistake in the program, seen at its start.
func Stats[S any](r *Registry, read func() S, metrics ...Metric[S]) {
	c := &statsCollector[S]{read: read, metrics: metrics}
	for _, m := range metrics {
		c.descs = append(c.descs, prometheus.NewDesc(prometheus.BuildFQName(namespace, "", m.Name), m.Help, nil, nil))
	}
	r.prometheus.MustRegister(c)
}

type statsCollector[S any] struct {
	read    func() S
	metrics []Metric[S]
	descs   []*prometheus.Desc
}

// Describe implements prometheus.Collector.
func (c *statsCollector[S]) Describe(descs chan<- *prometheus.Desc) {
	for _, d := range c.descs {
		descs <- d
	}
}

// Collect implements prometheus.Collector: all numbers of a scrape come from one snapshot.
func (c *statsCollector[S]) Collect(out chan<- prometheus.Metric) {
	snapshot := c.read()
	for i, m := range c.metrics {
		kind := prometheus.GaugeValue
		if m.Kind == Counter {
			kind = prometheus.CounterValue
		}
		out <- prometheus.MustNewConstMetric(c.descs[i], kind, m.Value(snapshot))
	}
}
