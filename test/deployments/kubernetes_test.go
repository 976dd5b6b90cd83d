package deployments

import (
	"context"
	"net/http"
	"path/filepath"
	"slices"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/chatapi/chatapi/test/harness"
)

type metadata struct {
	Name      string            `json:"name"`
	Namespace string            `json:"namespace"`
	Labels    map[string]string `json:"labels"`
}

type deployment struct {
	Metadata metadata `json:"metadata"`
	Spec     struct {
		Selector struct {
			Labels map[string]string `json:"matchLabels"`
		} `json:"selector"`
		Template struct {
			Metadata metadata `json:"metadata"`
			Spec     pod      `json:"spec"`
		} `json:"template"`
	} `json:"spec"`
}

type pod struct {
	Grace      int         `json:"terminationGracePeriodSeconds"`
	Containers []container `json:"containers"`
}

type container struct {
	Env []struct {
		Name  string `json:"name"`
		Value string `json:"value"`
	} `json:"env"`
	EnvFrom []struct {
		ConfigMap struct {
			Name string `json:"name"`
		} `json:"configMapRef"`
		Secret struct {
			Name string `json:"name"`
		} `json:"secretRef"`
	} `json:"envFrom"`
	Ports []struct {
		Name string `json:"name"`
		Port int    `json:"containerPort"`
	} `json:"ports"`
	Liveness  probe `json:"livenessProbe"`
	Readiness probe `json:"readinessProbe"`
	Startup   probe `json:"startupProbe"`
	Lifecycle struct {
		PreStop struct {
			Sleep struct {
				Seconds int `json:"seconds"`
			} `json:"sleep"`
		} `json:"preStop"`
	} `json:"lifecycle"`
}

type probe struct {
	HTTP struct {
		Path string `json:"path"`
		Port string `json:"port"`
	} `json:"httpGet"`
}

func manifest[T any](t testing.TB, file string) T {
	t.Helper()
	return parse[T](t, text(t, "kubernetes", file))
}

// theContainer is the one of the deployment's pods.
func theContainer(t testing.TB) (pod, container) {
	t.Helper()
	p := manifest[deployment](t, "deployment.yaml").Spec.Template.Spec
	if len(p.Containers) != 1 {
		t.Fatalf("%d containers, want 1", len(p.Containers))
	}
	return p, p.Containers[0]
}

// podEnvironment is what the pod's environment comes from: its own entries, the ConfigMap and the example of the Secret.
func podEnvironment(t testing.TB) map[string]string {
	t.Helper()
	_, c := theContainer(t)
	settings := manifest[struct {
		Metadata metadata          `json:"metadata"`
		Data     map[string]string `json:"data"`
	}](t, "configmap.yaml")
	secrets := manifest[struct {
		Metadata metadata          `json:"metadata"`
		Data     map[string]string `json:"stringData"`
	}](t, "secret.example.yaml")
	if len(c.EnvFrom) != 2 || c.EnvFrom[0].ConfigMap.Name != settings.Metadata.Name || c.EnvFrom[1].Secret.Name != secrets.Metadata.Name {
		t.Errorf("the pod takes its environment from %+v", c.EnvFrom)
	}
	env := settings.Data
	for name, value := range secrets.Data {
		env[name] = value
	}
	for _, e := range c.Env {
		env[e.Name] = e.Value
	}
	return env
}

func TestPodsHaveTimeToDrain(t *testing.T) {
	t.Parallel()
	p, c := theContainer(t)
	drain := harness.Must(time.ParseDuration(podEnvironment(t)["SHUTDOWN_DRAIN_TIMEOUT"]))(t)
	pause := time.Duration(c.Lifecycle.PreStop.Sleep.Seconds) * time.Second
	if grace := time.Duration(p.Grace) * time.Second; pause == 0 || grace < pause+drain+5*time.Second {
		t.Errorf("a pod has %s to stop, waits for %s and drains for %s", grace, pause, drain)
	}
}

func TestProbesOfPodsAskWhatTheServerAnswers(t *testing.T) {
	t.Parallel()
	_, c := theContainer(t)
	got := []probe{c.Liveness, c.Readiness, c.Startup}
	var want [3]probe
	for i, path := range []string{"/health/live", "/health/ready", "/health/live"} {
		want[i].HTTP.Path, want[i].HTTP.Port = path, "http"
	}
	if diff := cmp.Diff(want[:], got); diff != "" {
		t.Error(diff)
	}
	s := harness.Start(t, harness.Options{})
	for _, p := range got {
		res, err := s.Anonymous().Do(context.Background(), http.MethodGet, p.HTTP.Path, nil)
		if err != nil || res.Status != http.StatusOK {
			t.Errorf("%s: %+v, %v", p.HTTP.Path, res, err)
		}
	}
	if !slices.ContainsFunc(c.Ports, func(p struct {
		Name string `json:"name"`
		Port int    `json:"containerPort"`
	}) bool {
		return p.Name == "http" && p.Port == 8080
	}) || podEnvironment(t)["LISTEN_ADDR"] != ":8080" {
		t.Error("the port http is not where the server listens")
	}
}

// TestManifestsSelectThePods: a selector that matches nothing is an error that Kubernetes never tells.
func TestManifestsSelectThePods(t *testing.T) {
	t.Parallel()
	d := manifest[deployment](t, "deployment.yaml")
	want := d.Spec.Template.Metadata.Labels
	type byLabels struct {
		Labels map[string]string `json:"matchLabels"`
	}
	selectors := map[string]map[string]string{
		"deployment.yaml": d.Spec.Selector.Labels,
		"service.yaml": manifest[struct {
			Spec struct {
				Selector map[string]string `json:"selector"`
			} `json:"spec"`
		}](t, "service.yaml").Spec.Selector,
		"poddisruptionbudget.yaml": manifest[struct {
			Spec struct {
				Selector byLabels `json:"selector"`
			} `json:"spec"`
		}](t, "poddisruptionbudget.yaml").Spec.Selector.Labels,
		"networkpolicy.yaml": manifest[struct {
			Spec struct {
				Selector byLabels `json:"podSelector"`
			} `json:"spec"`
		}](t, "networkpolicy.yaml").Spec.Selector.Labels,
	}
	for file, got := range selectors {
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("%s: %s", file, diff)
		}
	}
}

func TestTheKustomizationNamesFilesThatExist(t *testing.T) {
	t.Parallel()
	k := manifest[struct {
		Namespace string   `json:"namespace"`
		Resources []string `json:"resources"`
	}](t, "kustomization.yaml")
	for _, path := range filesOf(t, "*.yaml") {
		if filepath.Base(filepath.Dir(path)) != "kubernetes" {
			continue
		}
		m := parse[struct {
			Kind     string   `json:"kind"`
			Metadata metadata `json:"metadata"`
		}](t, read(t, path)).Metadata
		if m.Namespace != "" && m.Namespace != k.Namespace {
			t.Errorf("%s is in the namespace %s, want %s", path, m.Namespace, k.Namespace)
		}
	}
	for _, file := range k.Resources {
		manifest[map[string]any](t, file)
	}
}
