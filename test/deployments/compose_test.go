package deployments

import (
	"fmt"
	"maps"
	"net/netip"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"
)

var composeFiles = []string{"compose.yaml", "compose.cluster.yaml"}

type composeFile struct {
	Services map[string]service `json:"services"`
	Networks map[string]struct {
		IPAM struct {
			Config []struct {
				Subnet string `json:"subnet"`
			} `json:"config"`
		} `json:"ipam"`
	} `json:"networks"`
	Volumes map[string]any `json:"volumes"`
}

type service struct {
	Image       string            `json:"image"`
	Environment map[string]string `json:"environment"`
	Ports       []string          `json:"ports"`
	Volumes     []string          `json:"volumes"`
	DependsOn   map[string]struct {
		Condition string `json:"condition"`
	} `json:"depends_on"`
	Networks map[string]struct {
		Address string `json:"ipv4_address"`
	} `json:"networks"`
	Healthcheck *struct {
		Test []string `json:"test"`
	} `json:"healthcheck"`
	Grace string `json:"stop_grace_period"`
}

// isNode reports whether the service is the server, whose image the stack builds itself.
func (s service) isNode() bool { return strings.HasPrefix(s.Image, "chatapi:") }

func compose(t testing.TB, file string) composeFile {
	t.Helper()
	return parse[composeFile](t, text(t, file))
}

func TestStacksHaveTheServicesTheyName(t *testing.T) {
	t.Parallel()
	for file, wantNodes := range map[string]int{"compose.yaml": 1, "compose.cluster.yaml": 3} {
		stack, nodes := compose(t, file), 0
		for name, s := range stack.Services {
			if s.isNode() {
				nodes++
			}
			for other, on := range s.DependsOn {
				target, ok := stack.Services[other]
				if !ok || on.Condition == "service_healthy" && target.Healthcheck == nil {
					t.Errorf("%s: %s waits for %s to be healthy, which nobody can tell", file, name, other)
				}
			}
			for _, mount := range s.Volumes {
				source, _, _ := strings.Cut(mount, ":")
				if path, ok := strings.CutPrefix(source, "./"); ok {
					text(t, path)
				} else if _, ok := stack.Volumes[source]; !ok {
					t.Errorf("%s: %s mounts %s, which is not declared", file, name, source)
				}
			}
			for _, port := range s.Ports {
				if !strings.HasPrefix(port, "127.0.0.1:") {
					t.Errorf("%s: %s is published to the network: %s", file, name, port)
				}
			}
		}
		if nodes != wantNodes {
			t.Errorf("%s: %d nodes, want %d", file, nodes, wantNodes)
		}
	}
}

func TestNodesOfAStackHaveTimeToDrain(t *testing.T) {
	t.Parallel()
	for _, file := range composeFiles {
		for name, s := range compose(t, file).Services {
			if !s.isNode() {
				continue
			}
			grace, err := time.ParseDuration(s.Grace)
			drain, err2 := time.ParseDuration(s.Environment["SHUTDOWN_DRAIN_TIMEOUT"])
			if err != nil || err2 != nil || grace < drain+2*time.Second {
				t.Errorf("%s: %s has %q to stop and drains for %q", file, name, s.Grace, s.Environment["SHUTDOWN_DRAIN_TIMEOUT"])
			}
		}
	}
}

// TestNodesBelieveTheBalancersAlone: a network of the stack would include every neighbour of the nodes.
func TestNodesBelieveTheBalancersAlone(t *testing.T) {
	t.Parallel()
	stack := compose(t, "compose.cluster.yaml")
	var balancers []string
	for _, s := range stack.Services {
		if address := s.Networks["default"].Address; address != "" {
			balancers = append(balancers, address)
			if !netip.MustParsePrefix(stack.Networks["default"].IPAM.Config[0].Subnet).Contains(netip.MustParseAddr(address)) {
				t.Errorf("%s is outside of the stack's network", address)
			}
		}
	}
	slices.Sort(balancers)
	for name, s := range stack.Services {
		if got := s.Environment["TRUSTED_PROXIES"]; s.isNode() && got != strings.Join(balancers, ",") {
			t.Errorf("%s believes %s, and the balancers are %v", name, got, balancers)
		}
	}
}

// asked matches ${NAME:?why} and ${NAME:-default}.
var asked = regexp.MustCompile(`\$\{(\w+)(:[?-])([^}]*)\}`)

// TestStacksAskForSecretsThatTheExampleNames: each has a line in .env.example, has no default, and stops the start while empty.
func TestStacksAskForSecretsThatTheExampleNames(t *testing.T) {
	t.Parallel()
	example := variables(text(t, ".env.example"))
	for _, file := range composeFiles {
		used := map[string]bool{}
		for _, m := range asked.FindAllStringSubmatch(text(t, file), -1) {
			if name, kind := m[1], m[2]; kind == ":?" {
				used[name] = true
			} else if name != "VERSION" {
				t.Errorf("%s: %s has a default", file, name)
			}
		}
		if got, want := slices.Sorted(maps.Keys(used)), slices.Sorted(maps.Keys(example)); !slices.Equal(got, want) {
			t.Errorf("%s asks for %v, .env.example has %v", file, got, want)
		}
	}
	for name, value := range example {
		if value != "" {
			t.Errorf(".env.example: %s has a value that somebody will keep", name)
		}
	}
}

// variables reads the lines NAME=value of a file, those that are commented out included.
func variables(file string) map[string]string {
	found := map[string]string{}
	for _, m := range regexp.MustCompile(`(?m)^#?([A-Z_]+)=(.*)$`).FindAllStringSubmatch(file, -1) {
		found[m[1]] = m[2]
	}
	return found
}

// filledIn puts a value for every variable that a stack asks for.
func filledIn(value string) string {
	return asked.ReplaceAllStringFunc(value, func(m string) string {
		name := asked.FindStringSubmatch(m)[1]
		return fmt.Sprintf("%064x", name)[:64] // long enough for a secret, and hexadecimal for SECRETS_KEY
	})
}
