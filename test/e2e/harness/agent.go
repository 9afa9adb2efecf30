package harness

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// Template is one template of Vault Agent: a consul-template text such as
//
//	{{ with pkiCert "pki-1/issue/web" "common_name=a.example.com" }}{{ .Cert }}{{ end }}
//
// and the file that it is rendered to.
type Template struct {
	Contents    string
	Destination string // relative to the folder that Agent returns
}

// Agent runs `vault agent` once, with the root token, until all templates are
// rendered, and returns the folder that holds the rendered files. An agent that
// fails, or renders less, fails the test with its log.
func (s *Server) Agent(t testing.TB, templates ...Template) string {
	t.Helper()
	dir := t.TempDir()
	s.AgentIn(t, dir, templates...)
	return dir
}

// AgentIn is Agent in a folder where one may have run before: pkiCert looks there
// for a certificate that can still be used.
func (s *Server) AgentIn(t testing.TB, dir string, templates ...Template) {
	t.Helper()
	if err := s.writeAgentConfig(dir, templates); err != nil {
		t.Fatal(err)
	}
	result := s.Run(t, Command{Name: s.binary, Args: []string{"agent", "-config", filepath.Join(dir, "agent.hcl")}, Dir: dir})
	if result.Code != 0 {
		t.Fatalf("vault agent: exit code %d\n%s%s", result.Code, result.Stdout, result.Stderr)
	}
	for _, template := range templates {
		if _, err := os.Stat(filepath.Join(dir, template.Destination)); err != nil {
			t.Fatalf("vault agent did not render %s: %v\n%s%s", template.Destination, err, result.Stdout, result.Stderr)
		}
	}
}

// writeAgentConfig writes agent.hcl and what it refers to into dir.
func (s *Server) writeAgentConfig(dir string, templates []Template) error {
	var config strings.Builder
	fmt.Fprintf(&config, `exit_after_auth = true
vault {
  address = %q
  retry { num_retries = -1 }
}
auto_auth {
  method "token_file" {
    config = { token_file_path = %q }
  }
}
template_config {
  exit_on_retry_failure = true
}
`, s.Address, filepath.Join(dir, "token"))
	for i, template := range templates {
		source := filepath.Join(dir, fmt.Sprintf("template-%d.ctmpl", i))
		if err := os.WriteFile(source, []byte(template.Contents), 0o600); err != nil {
			return err
		}
		fmt.Fprintf(&config, "template {\n  source = %q\n  destination = %q\n  error_on_missing_key = true\n}\n",
			source, filepath.Join(dir, template.Destination))
	}
	if err := os.WriteFile(filepath.Join(dir, "token"), []byte(rootToken), 0o600); err != nil {
		return err
	}
	return os.WriteFile(filepath.Join(dir, "agent.hcl"), []byte(config.String()), 0o600)
}
