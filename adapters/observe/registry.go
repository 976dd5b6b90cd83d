// Package observe is what an operator sees of the running server: Prometheus metrics, measured by wrappers around
// ports and read from the counters that other parts keep, and the mux of ADMIN_ADDR. No metric has a label with a
// tenant, a room, a user or any other value a client chooses.
package observe

import (
	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
)

// namespace begins the name of every metric of this server.
const namespace = "chatapi"

// Registry holds the metrics of one server.
type Registry struct{ prometheus *prometheus.Registry }

// NewRegistry returns a registry with the metrics of the Go runtime and of the process, and chatapi_build_info.
func NewRegistry(version string) *Registry {
	r := &Registry{prometheus.NewRegistry()}
	build := prometheus.NewGauge(prometheus.GaugeOpts{
		Namespace: namespace, Name: "build_info", Help: "Always 1; the label says which version runs.",
		ConstLabels: prometheus.Labels{"version": version},
	})
	build.Set(1)
	r.prometheus.MustRegister(build, collectors.NewGoCollector(),
		collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}))
	return r
}
