package observe

import (
	"bufio"
	"net"
	"net/http"
	"strconv"
	"time"

	"github.com/prometheus/client_golang/prometheus"
)

// Requests measures a handler: chatapi_http_requests_total by method and status, chatapi_http_request_seconds by
// method. The path is no label: clients choose it. Whatever is answered counts, refused upgrades too; a connection that
// the handler has taken over was not answered, and is the sockets' to count.
func Requests(next http.Handler, r *Registry) http.Handler {
	total := prometheus.NewCounterVec(prometheus.CounterOpts{
		Namespace: namespace, Name: "http_requests_total", Help: "HTTP requests answered, refused upgrades included.",
	}, []string{"method", "status"})
	seconds := prometheus.NewHistogramVec(prometheus.HistogramOpts{
		Namespace: namespace, Name: "http_request_seconds", Help: "Time to answer an HTTP request.",
		Buckets:                     []float64{.0005, .001, .002, .004, .008, .016, .032, .064, .128, .256, .512, 1, 2, 5, 10},
		NativeHistogramBucketFactor: 1.1, NativeHistogramMaxBucketNumber: 160,
	}, []string{"method"})
	r.prometheus.MustRegister(total, seconds)
	return http.HandlerFunc(func(w http.ResponseWriter, req *http.Request) {
		start, method := time.Now(), methodLabel(req.Method)
		answer := &statusWriter{ResponseWriter: w, status: http.StatusOK}
		defer func() {
			if answer.taken {
				return
			}
			seconds.WithLabelValues(method).Observe(time.Since(start).Seconds())
			total.WithLabelValues(method, strconv.Itoa(answer.status)).Inc()
		}()
		next.ServeHTTP(answer, req)
	})
}

// methodLabel bounds the label's values: a client may send any word as its method.
func methodLabel(method string) string {
	switch method {
	case http.MethodGet, http.MethodHead, http.MethodPost, http.MethodPut, http.MethodPatch, http.MethodDelete,
		http.MethodOptions:
		return method
	}
	return "other"
}

// statusWriter remembers the status of an answer.
type statusWriter struct {
	http.ResponseWriter
	status int
	wrote  bool
	taken  bool // the connection is the handler's
}

func (w *statusWriter) WriteHeader(status int) {
	if !w.wrote && status >= http.StatusOK { // the informational ones come before the answer
		w.status, w.wrote = status, true
	}
	w.ResponseWriter.WriteHeader(status)
}

func (w *statusWriter) Write(p []byte) (int, error) {
	w.wrote = true
	return w.ResponseWriter.Write(p)
}

// Hijack implements http.Hijacker.
func (w *statusWriter) Hijack() (net.Conn, *bufio.ReadWriter, error) {
	conn, buffered, err := http.NewResponseController(w.ResponseWriter).Hijack()
	w.taken = err == nil
	return conn, buffered, err
}

// Unwrap lets http.ResponseController reach deadlines and flushing.
func (w *statusWriter) Unwrap() http.ResponseWriter { return w.ResponseWriter }
