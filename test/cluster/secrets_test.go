package cluster

import (
	"net/url"
	"strings"
	"testing"

	"github.com/chatapi/chatapi/test/harness"
)

// TestNoPasswordIsSeenOfBackendsThatRefuse starts nodes on what is not there, or does not let them in. The harness learns the
// passwords of the environment and searches all that a node lets be seen.
func TestNoPasswordIsSeenOfBackendsThatRefuse(t *testing.T) {
	t.Parallel()
	s := harness.Start(t, harness.Options{Topology: harness.Clustered, Nodes: 1})
	good := s.Nodes[0].Backends()
	change := func(name string, f func(*url.URL)) string {
		u := harness.Must(url.Parse(good[name]))(t)
		f(u)
		return u.String()
	}
	const wrong = "a-password-that-is-wrong"
	for what, env := range map[string]map[string]string{
		"a wrong password":   {"DATABASE_DSN": change("DATABASE_DSN", func(u *url.URL) { u.User = url.UserPassword("chatapi", wrong) })},
		"another user":       {"DATABASE_DSN": change("DATABASE_DSN", func(u *url.URL) { u.User = url.UserPassword("nobody", wrong) })},
		"no such database":   {"DATABASE_DSN": change("DATABASE_DSN", func(u *url.URL) { u.Path = "/nowhere" })},
		"nobody listens":     {"DATABASE_DSN": change("DATABASE_DSN", func(u *url.URL) { u.Host = "127.0.0.1:1" })},
		"no port":            {"DATABASE_DSN": strings.Replace(good["DATABASE_DSN"], "127.0.0.1:", "127.0.0.1:x", 1)},
		"no URL of a Redis":  {"REDIS_URL": strings.Replace(good["REDIS_URL"], "redis://", "reddish://", 1)},
		"no port of a Redis": {"REDIS_URL": strings.Replace(good["REDIS_URL"], "127.0.0.1:", "127.0.0.1:x", 1)},
	} {
		t.Run(what, func(t *testing.T) {
			t.Parallel()
			opts := beside(s)
			for name, value := range env {
				opts.Env[name] = value
				if said := refused(t, opts); !strings.Contains(said, name) {
					t.Errorf("it did not name %s:\n%s", name, said)
				}
			}
		})
	}
	t.Run("a wrong password of a Redis", func(t *testing.T) {
		t.Parallel()
		opts := beside(s)
		opts.Env["REDIS_URL"] = change("REDIS_URL", func(u *url.URL) { u.User = url.UserPassword("", wrong) })
		wantHealth(t, harness.Start(t, opts).Nodes, "degraded") // Redis only hurries: the node works
	})
}
