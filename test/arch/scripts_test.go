package arch_test

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// missingOn returns the packages that scripts/deps would install for a target on a
// machine that has bash and coreutils alone.
func missingOn(t *testing.T, target string) string {
	t.Helper()
	bin := t.TempDir()
	for _, name := range []string{"bash", "dirname", "basename", "grep", "sed"} {
		path, err := exec.LookPath(name)
		if err != nil {
			t.Fatal(err)
		}
		if err := os.Symlink(path, filepath.Join(bin, name)); err != nil {
			t.Fatal(err)
		}
	}
	return script(t, "PATH="+bin, filepath.Join(root, "scripts", "deps"), "-n", target)
}

// script runs a program with one variable set and returns its standard output and error.
func script(t *testing.T, variable, name string, arguments ...string) string {
	t.Helper()
	command := exec.CommandContext(t.Context(), name, arguments...)
	command.Env = append(os.Environ(), variable)
	output, err := command.CombinedOutput()
	if err != nil {
		t.Fatalf("%s %s: %v\n%s", name, strings.Join(arguments, " "), err, output)
	}
	return string(output)
}

// The demo installs a compiler, SoftHSM and three tools, and no server that it does not start.
func TestDepsAreSplitByTarget(t *testing.T) {
	build := "gcc git make libc6-dev"
	if got := oneLine(missingOn(t, "build")); got != build {
		t.Errorf("for a build: %s", got)
	}
	if got := oneLine(missingOn(t, "demo")); got != build+" softhsm2 openssl curl jq" {
		t.Errorf("for the demo: %s", got)
	}
	for target, wanted := range map[string]string{"unit": "opensc swtpm chromium", "test": "opensc ldap-utils default-jdk-headless"} {
		got := " " + oneLine(missingOn(t, target)) + " "
		for name := range strings.FieldsSeq(wanted) {
			if !strings.Contains(got, " "+name+" ") {
				t.Errorf("for %s: %s is not in%s", target, name, got)
			}
		}
	}
	if got := missingOn(t, "unit"); strings.Contains(got, "nginx") || strings.Contains(got, "slapd") {
		t.Errorf("for unit, a server of the end-to-end tests: %s", got)
	}
}

// Each script installs what its own target needs.
func TestScriptsNameTheTargetOfDeps(t *testing.T) {
	scripts, err := filepath.Glob(filepath.Join(root, "scripts", "*"))
	if err != nil {
		t.Fatal(err)
	}
	var violations []string
	for _, path := range append(scripts, filepath.Join(root, "Makefile"), filepath.Join(root, ".ci", "run")) {
		content, err := os.ReadFile(path)
		if err != nil {
			continue // a folder
		}
		for line := range strings.Lines(string(content)) {
			if strings.HasSuffix(strings.TrimSpace(line), "scripts/deps") {
				violations = append(violations, path+": "+line)
			}
		}
	}
	none(t, violations)
}

// A long build shows in a log how far it is, and never hides an error.
func TestABuildShowsProgress(t *testing.T) {
	said := script(t, "PROGRESS_EVERY=0", "bash", "-c", `source "$1/scripts/lib.sh"
printf '%s\n' github.com/a/b '# github.com/a/c' 'c.go:1:1: syntax error' net/http |
	packages_compiled engine 4 2>&1
(compile . 'the lints' ./backend/lint 2>&1)`, "bash", root)
	for _, wanted := range []string{"# github.com/a/c\n", "c.go:1:1: syntax error\n", "engine: 2 of 4 packages compiled\n", "built the lints in "} {
		if !strings.Contains(said, wanted) {
			t.Errorf("%q is missing in:\n%s", wanted, said)
		}
	}
	if strings.Contains(said, "net/http") {
		t.Errorf("the name of a compiled package is no message:\n%s", said)
	}
}
