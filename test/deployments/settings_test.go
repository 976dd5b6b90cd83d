package deployments

import (
	"encoding/json"
	"maps"
	"os"
	"os/exec"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/chatapi/chatapi/test/harness"
)

// ofTheRuntime are variables that the Go runtime reads, and the system.
var ofTheRuntime = []string{"GOMEMLIMIT", "GOMAXPROCS", "PATH"}

// known are the settings that the real binary has, with the _FILE form of the secrets.
func known(t testing.TB) []string {
	t.Helper()
	cmd := exec.Command(harness.Must(harness.Binary())(t), "config", "--json")
	cmd.Dir, cmd.Env = t.TempDir(), []string{}
	var values []struct {
		Name   string `json:"name"`
		Secret bool   `json:"secret"`
	}
	harness.Check(t, json.Unmarshal(harness.Must(cmd.Output())(t), &values))
	names := slices.Clone(ofTheRuntime)
	for _, v := range values {
		if names = append(names, v.Name); v.Secret {
			names = append(names, v.Name+"_FILE")
		}
	}
	return names
}

// environments are the settings that each way to run a node gives it.
func environments(t testing.TB) map[string]map[string]string {
	t.Helper()
	all := map[string]map[string]string{}
	for _, file := range composeFiles {
		for name, s := range compose(t, file).Services {
			if !s.isNode() {
				continue
			}
			env := map[string]string{}
			for k, v := range s.Environment {
				env[k] = filledIn(v)
			}
			all[file+" "+name] = env
		}
	}
	all["Dockerfile"] = map[string]string{}
	for _, m := range regexp.MustCompile(`([A-Z_]+)=(\S+)`).FindAllStringSubmatch(envLine(text(t, "Dockerfile")), -1) {
		all["Dockerfile"][m[1]] = m[2]
	}
	unit := text(t, "systemd", "chatapi.service")
	all["systemd"] = map[string]string{}
	for _, m := range regexp.MustCompile(`(?m)^Environment=([A-Z_]+)=(.*)$`).FindAllStringSubmatch(unit, -1) {
		all["systemd"][m[1]] = m[2]
	}
	all["chatapi.env.example"] = variables(text(t, "systemd", "chatapi.env.example"))
	all["kubernetes"] = podEnvironment(t)
	return all
}

// envLine is the ENV of the image that is shipped.
func envLine(dockerfile string) string {
	all := stages(dockerfile)
	return regexp.MustCompile(`(?m)^ENV (.*)$`).FindString(all[len(all)-1])
}

func TestOnlySettingsThatTheServerHasAreSet(t *testing.T) {
	t.Parallel()
	names := known(t)
	for where, env := range environments(t) {
		if len(env) == 0 {
			t.Errorf("%s sets nothing", where)
		}
		for name := range env {
			if !slices.Contains(names, name) {
				t.Errorf("%s sets %s, which the server does not know", where, name)
			}
		}
	}
}

// TestTheServerTakesTheValuesThatAreSet has the real binary check each environment. Whether a DSN of Postgres leads to a
// database is for a cluster to say: here it is left out.
func TestTheServerTakesTheValuesThatAreSet(t *testing.T) {
	t.Parallel()
	binary := harness.Must(harness.Binary())(t)
	for where, env := range environments(t) {
		cmd := exec.Command(binary, "config")
		cmd.Dir = t.TempDir()
		for _, name := range slices.Sorted(maps.Keys(env)) {
			if value := env[name]; value != "" && !strings.HasPrefix(value, "postgres://") && !strings.Contains(value, "…") {
				cmd.Env = append(cmd.Env, name+"="+value)
			}
		}
		if out, err := cmd.CombinedOutput(); err != nil {
			t.Errorf("%s: %v\n%s", where, err, out)
		}
	}
}

func write(t testing.TB, path, content string) {
	t.Helper()
	harness.Check(t, os.WriteFile(path, []byte(content), 0o600))
}
