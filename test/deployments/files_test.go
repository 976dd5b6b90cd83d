package deployments

import (
	"encoding/json"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/chatapi/chatapi/test/harness"
)

func TestEveryFileOfYAMLAndJSONParses(t *testing.T) {
	t.Parallel()
	for _, path := range filesOf(t, "*.yaml", "*.yml") {
		if v := parse[map[string]any](t, read(t, path)); len(v) == 0 {
			t.Errorf("%s is empty", path)
		}
	}
	for _, path := range filesOf(t, "*.json") {
		if !json.Valid([]byte(read(t, path))) {
			t.Errorf("%s is no JSON", path)
		}
	}
}

func TestTheScriptOfTheClusterIsAShellScript(t *testing.T) {
	t.Parallel()
	out, err := exec.Command("bash", "-n", place(t, "cluster.sh")).CombinedOutput()
	if err != nil || len(out) > 0 {
		t.Errorf("%v\n%s", err, out)
	}
}

// TestTheUnitIsOneThatSystemdTakes has systemd read the unit, with the real binary in the place where operators put it.
func TestTheUnitIsOneThatSystemdTakes(t *testing.T) {
	t.Parallel()
	const installed = "/usr/local/bin/chatapi"
	unit := text(t, "systemd", "chatapi.service")
	if !strings.Contains(unit, "ExecStart="+installed+" serve\n") {
		t.Fatalf("the unit does not start %s", installed)
	}
	binary := harness.Must(harness.Binary())(t)
	path := filepath.Join(t.TempDir(), "chatapi.service")
	write(t, path, strings.ReplaceAll(unit, "ExecStart="+installed, "ExecStart="+binary))
	out, err := exec.Command("systemd-analyze", "verify", "--man=no", path).CombinedOutput()
	if err != nil || len(out) > 0 {
		t.Errorf("%v\n%s", err, out)
	}
}

// pinned is a tag that names a release: at least major and minor number.
var pinned = regexp.MustCompile(`^[\w./-]+:v?\d+\.\d+[\w.-]*(@sha256:[0-9a-f]{64})?$`)

func TestImagesArePinned(t *testing.T) {
	t.Parallel()
	for _, file := range composeFiles {
		for name, s := range compose(t, file).Services {
			if !s.isNode() && !pinned.MatchString(s.Image) {
				t.Errorf("%s: the image of %s is not pinned: %s", file, name, s.Image)
			}
		}
	}
	for _, stage := range stages(text(t, "Dockerfile")) {
		if image := strings.Fields(stage)[1]; image != "scratch" && !pinned.MatchString(image) {
			t.Errorf("Dockerfile: %s is not pinned", image)
		}
	}
}

// stages are the parts of a Dockerfile that begin with FROM, comments and line ends taken away.
func stages(dockerfile string) []string {
	dockerfile = regexp.MustCompile(`(?m)^\s*#.*\n`).ReplaceAllString(dockerfile, "")
	dockerfile = strings.ReplaceAll(dockerfile, "\\\n", " ")
	parts := regexp.MustCompile(`(?m)^FROM `).Split(dockerfile, -1)
	for i := range parts {
		parts[i] = "FROM " + parts[i]
	}
	return parts[1:]
}

// instructions are the known first words of a Dockerfile's lines.
var instructions = regexp.MustCompile(`^(FROM|WORKDIR|ENV|COPY|RUN|ARG|USER|VOLUME|EXPOSE|STOPSIGNAL|HEALTHCHECK|ENTRYPOINT|CMD) `)

func TestTheImageHoldsAStaticBinaryAndRunsAsNobodySpecial(t *testing.T) {
	t.Parallel()
	all := stages(text(t, "Dockerfile"))
	for _, stage := range all {
		for line := range strings.Lines(stage) {
			if line = strings.TrimSpace(line); line != "" && !instructions.MatchString(line) {
				t.Errorf("no instruction that is known: %s", line)
			}
		}
	}
	build, image := all[0], all[len(all)-1]
	if !strings.Contains(build, "CGO_ENABLED=0") || !strings.Contains(build, "-X main.release=${VERSION}") {
		t.Errorf("the build is not static, or has no version:\n%s", build)
	}
	for _, want := range []string{
		"FROM scratch\n", "\nUSER 65532:65532\n", "/etc/ssl/certs/ca-certificates.crt", "\nVOLUME /data\n", "\nSTOPSIGNAL SIGTERM\n",
		` CMD ["chatapi", "health"]` + "\n", "\n" + `ENTRYPOINT ["chatapi"]` + "\n",
	} {
		if !strings.Contains(image, want) {
			t.Errorf("the image lacks %q:\n%s", want, image)
		}
	}
	if regexp.MustCompile(`(?i)(secret|password|master_api_key)\s*=\s*\S`).MatchString(strings.Join(all, "")) {
		t.Error("a secret stands in the Dockerfile")
	}
}

// TestTheImageIsBuiltFromEverythingThatItNeeds compares what the build may see with the packages that the binary consists of.
func TestTheImageIsBuiltFromEverythingThatItNeeds(t *testing.T) {
	t.Parallel()
	seen := map[string]bool{}
	for line := range strings.Lines(text(t, "Dockerfile.dockerignore")) {
		if name, ok := strings.CutPrefix(strings.TrimSpace(line), "!"); ok {
			seen[name] = true
		}
	}
	cmd := exec.Command("go", "list", "-deps", "-f", "{{if not .Standard}}{{.ImportPath}}{{end}}", "./cmd/chatapi")
	cmd.Dir = harness.Must(harness.ModuleRoot())(t)
	const module = "github.com/chatapi/chatapi/"
	for _, path := range strings.Fields(string(harness.Must(cmd.Output())(t))) {
		if name, ok := strings.CutPrefix(path, module); ok {
			if folder, _, _ := strings.Cut(name, "/"); !seen[folder] {
				t.Errorf("the build needs %s, and .dockerignore hides %s", path, folder)
			}
		}
	}
}
