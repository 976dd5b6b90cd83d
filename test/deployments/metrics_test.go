package deployments

import (
	"context"
	"fmt"
	"net/http"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/chatapi/chatapi/test/harness"
)

// onlyInACluster are the metrics that a node has on Postgres with Redis alone, and onlyOnSQLite those that it has not. Each list
// is held against a real node of both kinds.
var (
	onlyInACluster = []string{
		"chatapi_store_commits_total", "chatapi_store_retries_total", "chatapi_store_connections_used", "chatapi_store_connections_idle",
		"chatapi_store_connections_max", "chatapi_store_operator_connections_used", "chatapi_store_connection_waits_total",
		"chatapi_store_connection_wait_seconds_total", "chatapi_redis_up", "chatapi_redis_nodes", "chatapi_bus_published_total",
		"chatapi_bus_frames_total", "chatapi_bus_dropped_total", "chatapi_bus_received_total", "chatapi_bus_gaps_total",
		"chatapi_bus_overflows_total", "chatapi_bus_lost_total", "chatapi_bus_reconnects_total", "chatapi_bus_queued", "chatapi_bus_connected",
		"chatapi_limits_slices_total", "chatapi_limits_waited_total", "chatapi_limits_alone_total",
	}
	onlyOnSQLite = []string{"chatapi_store_checkpoints_total", "chatapi_store_checkpoint_seconds_total", "chatapi_store_wal_bytes"}
)

// expression is one piece of PromQL and where it stands.
type expression struct{ where, text string }

type dashboard struct {
	Panels []struct {
		Title   string `json:"title"`
		Type    string `json:"type"`
		Targets []struct {
			Expr string `json:"expr"`
		} `json:"targets"`
	} `json:"panels"`
	Annotations struct {
		List []struct {
			Name string `json:"name"`
			Expr string `json:"expr"`
		} `json:"list"`
	} `json:"annotations"`
	Templating struct {
		List []struct {
			Name       string `json:"name"`
			Definition string `json:"definition"`
		} `json:"list"`
	} `json:"templating"`
}

type rules struct {
	Groups []struct {
		Rules []struct {
			Alert       string            `json:"alert"`
			Expr        string            `json:"expr"`
			Labels      map[string]string `json:"labels"`
			Annotations map[string]string `json:"annotations"`
		} `json:"rules"`
	} `json:"groups"`
}

func expressionsOfTheDashboard(t testing.TB) []expression {
	t.Helper()
	d := parse[dashboard](t, text(t, "grafana", "chatapi.json"))
	var all []expression
	for _, p := range d.Panels {
		if p.Type != "row" && len(p.Targets) == 0 {
			t.Errorf("the panel %q shows nothing", p.Title)
		}
		for _, target := range p.Targets {
			all = append(all, expression{"panel " + p.Title, target.Expr})
		}
	}
	for _, a := range d.Annotations.List {
		all = append(all, expression{"annotation " + a.Name, a.Expr})
	}
	for _, v := range d.Templating.List {
		if v.Definition != "" {
			all = append(all, expression{"variable " + v.Name, v.Definition})
		}
	}
	return all
}

func expressionsOfTheAlerts(t testing.TB) []expression {
	t.Helper()
	var all []expression
	for _, group := range parse[rules](t, text(t, "prometheus", "alerts.yaml")).Groups {
		for _, r := range group.Rules {
			if r.Alert == "" || r.Labels["severity"] == "" || r.Annotations["summary"] == "" {
				t.Errorf("an alert lacks its name, its severity or its summary: %+v", r)
			}
			all = append(all, expression{"alert " + r.Alert, r.Expr})
		}
	}
	return all
}

// selector is a metric of ours, or of Go and the process, with the labels that it is chosen by.
var (
	selector = regexp.MustCompile(`\b((?:chatapi|go|process)_[a-z0-9_]+)(?:\{([^}]*)\})?`)
	matcher  = regexp.MustCompile(`(\w+)\s*(=~|!~|!=|=)\s*"([^"]*)"`)
)

// ofPrometheus are labels that the scrape adds.
var ofPrometheus = []string{"job", "instance"}

// scrape is what a server says of itself: for each series name its label sets, as they are written.
type scrape map[string][]string

func scraped(body string) scrape {
	all := scrape{}
	for line := range strings.Lines(body) {
		if name, labels, ok := series(line); ok {
			all[name] = append(all[name], labels)
		}
	}
	return all
}

func series(line string) (name, labels string, ok bool) {
	line = strings.TrimSpace(line)
	if line == "" || line[0] == '#' {
		return "", "", false
	}
	name, _, _ = strings.Cut(line, " ")
	name, labels, _ = strings.Cut(name, "{")
	return name, labels, true
}

// missing lists what an expression selects and the server does not have. Of a label that is compared with one plain value
// there must be a series with this value.
func (s scrape) missing(text string) []string {
	var found []string
	for _, m := range selector.FindAllStringSubmatch(text, -1) {
		sets, ok := s[m[1]]
		if !ok {
			found = append(found, m[1])
			continue
		}
		for _, label := range matcher.FindAllStringSubmatch(m[2], -1) {
			want := label[1] + `="`
			if label[2] == "=" {
				want += label[3] + `"`
			}
			has := func(set string) bool { return strings.Contains(set, want) }
			if !slices.Contains(ofPrometheus, label[1]) && !slices.ContainsFunc(sets, has) {
				found = append(found, fmt.Sprintf("%s{%s}", m[1], label[0]))
			}
		}
	}
	return found
}

// busyServer has done a little of what there are metrics of: sent, refused, failed and delivered on a socket.
func busyServer(t testing.TB) *harness.Server {
	t.Helper()
	s := harness.Start(t, harness.Options{Admin: true})
	tenant := harness.Must(s.NewTenant("busy"))(t)
	alice, bob := tenant.User("alice"), tenant.User("bob")
	room := harness.Must(alice.CreateRoom("dm", "alice", "bob"))(t)
	socket := harness.Must(bob.Dial())(t)
	sent := harness.Must(alice.Send(room.RoomID, harness.Body("hello")))(t)
	harness.Eventually(t, wait, "bob has the message", func() bool {
		return slices.ContainsFunc(socket.Frames(), func(f harness.Frame) bool { return f.Type == "message" && f.Seq == sent.Seq })
	})
	harness.Check(t, bob.Ack(room.RoomID, sent.Seq, ""))
	if _, err := alice.Send("room_of_nobody", harness.Body("lost")); err == nil {
		t.Error("a room that does not exist took a message")
	}
	return s
}

// expressionsOfThePage are what docs/cluster.md tells operators to look at.
func expressionsOfThePage(t testing.TB) []expression {
	t.Helper()
	var all []expression
	page := strings.ReplaceAll(text(t, "..", "docs", "cluster.md"), `\|`, "|")
	for _, m := range regexp.MustCompile("`[^`\n]*`").FindAllString(page, -1) {
		if selector.MatchString(m) {
			all = append(all, expression{"docs/cluster.md", m})
		}
	}
	if len(all) == 0 {
		t.Error("docs/cluster.md names no metric")
	}
	return all
}

func TestTheMetricsOfDashboardAndAlertsExist(t *testing.T) {
	t.Parallel()
	res := harness.Must(busyServer(t).AdminClient().Do(context.Background(), http.MethodGet, "/metrics", nil))(t)
	has := scraped(string(res.Body))
	for _, name := range onlyInACluster {
		if has[name] == nil {
			has[name] = []string{""}
		} else {
			t.Errorf("%s is no metric of clusters alone", name)
		}
	}
	all := slices.Concat(expressionsOfTheDashboard(t), expressionsOfTheAlerts(t), expressionsOfThePage(t))
	for _, e := range all {
		if !selector.MatchString(e.text) && !strings.Contains(e.text, `up{job="chatapi"}`) {
			t.Errorf("%s selects no metric: %s", e.where, e.text)
		}
		if strings.Count(e.text, "(") != strings.Count(e.text, ")") || strings.Count(e.text, "{") != strings.Count(e.text, "}") {
			t.Errorf("%s has brackets that do not close: %s", e.where, e.text)
		}
		if gone := has.missing(withoutFaults(e.text)); len(gone) > 0 {
			t.Errorf("%s selects what the server does not have: %v", e.where, gone)
		}
	}
}

// withoutFaults asks for the label only where no healthy server has the value.
func withoutFaults(text string) string {
	return strings.ReplaceAll(text, `status="500"`, `status=~"500"`)
}

// TestEveryMetricOfTheServerIsOnTheDashboard: a number that nobody looks at need not be counted.
func TestEveryMetricOfTheServerIsOnTheDashboard(t *testing.T) {
	t.Parallel()
	res := harness.Must(busyServer(t).AdminClient().Do(context.Background(), http.MethodGet, "/metrics", nil))(t)
	shown := shownOnTheDashboard(t)
	for _, name := range ownMetrics(string(res.Body)) {
		if !slices.Contains(shown, name) {
			t.Errorf("the dashboard does not show %s", name)
		}
	}
}

func shownOnTheDashboard(t testing.TB) []string {
	t.Helper()
	var names []string
	for _, e := range expressionsOfTheDashboard(t) {
		for _, m := range selector.FindAllStringSubmatch(e.text, -1) {
			names = append(names, strings.TrimSuffix(m[1], "_bucket"))
		}
	}
	return names
}

// ownMetrics are the names of a page that are this server's and not the runtime's.
func ownMetrics(page string) []string {
	var names []string
	for line := range strings.Lines(page) {
		rest, ok := strings.CutPrefix(line, "# HELP ")
		if name, _, _ := strings.Cut(rest, " "); ok && strings.HasPrefix(name, "chatapi_") {
			names = append(names, name)
		}
	}
	return names
}

func TestAMissingMetricOrLabelIsFound(t *testing.T) {
	t.Parallel()
	has := scraped("# HELP chatapi_a_total A.\nchatapi_a_total{outcome=\"stored\"} 1\nchatapi_b_bucket{le=\"1\"} 2\n")
	for expr, want := range map[string][]string{
		`sum(rate(chatapi_a_total{job="x",outcome="stored"}[5m]))`: nil,
		`rate(chatapi_a_total{outcome="lost"}[5m])`:                {`chatapi_a_total{outcome="lost"}`},
		`rate(chatapi_a_total{cause=~"x|y"}[5m])`:                  {`chatapi_a_total{cause=~"x|y"}`},
		`histogram_quantile(0.9, rate(chatapi_b_bucket[5m]))`:      nil,
		`chatapi_b`:                         {"chatapi_b"},
		`chatapi_c_total / chatapi_a_total`: {"chatapi_c_total"},
	} {
		if got := has.missing(expr); !slices.Equal(got, want) {
			t.Errorf("%s: got %v, want %v", expr, got, want)
		}
	}
}
