package paths_test

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/hashicorp/vault/sdk/framework"
	"github.com/hashicorp/vault/sdk/logical"
	"github.com/stretchr/testify/require"
	"go.yaml.in/yaml/v3"
)

// page is one page of documentation that people wrote.
type page struct {
	name, text string
}

// pages returns the README and everything below docs that is not generated.
func pages(t *testing.T) []page {
	t.Helper()
	names := []string{filepath.Join("..", "README.md"), filepath.Join("..", "CONTRIBUTING.md")}
	err := filepath.WalkDir(filepath.Join("..", "docs"), func(name string, entry fs.DirEntry, err error) error {
		if err == nil && strings.HasSuffix(name, ".md") && entry.Name() != "api.md" {
			names = append(names, name)
		}
		return err
	})
	require.NoError(t, err)
	found := make([]page, 0, len(names))
	for _, name := range names {
		content, err := os.ReadFile(name)
		require.NoError(t, err)
		// Lines that a shell would join are one command.
		found = append(found, page{name, strings.ReplaceAll(string(content), "\\\n", " ")})
	}
	return found
}

// blocks returns the code blocks of a language.
func (p page) blocks(language string) []string {
	var found []string
	for _, part := range strings.Split(p.text, "\n```"+language+"\n")[1:] {
		block, _, _ := strings.Cut(part, "\n```")
		found = append(found, block)
	}
	return found
}

var (
	command   = regexp.MustCompile("(! )?vault (write|read|list|patch|delete|path-help)((?: -[^ ]+)*) (?:pki|\\$PKI_MOUNT)/([^ `\n)\"]*)([^`|>)#\n]*)")
	parameter = regexp.MustCompile(` ([a-z0-9_]+)=`)
	operators = map[string]logical.Operation{
		"write": logical.UpdateOperation, "read": logical.ReadOperation, "list": logical.ListOperation,
		"patch": logical.PatchOperation, "delete": logical.DeleteOperation,
	}
)

// find returns the path of the engine that a request to a mount reaches.
func find(paths []*framework.Path, requested string) *framework.Path {
	for _, p := range paths {
		pattern := strings.TrimSuffix(strings.TrimPrefix(p.Pattern, "^"), "$")
		if regexp.MustCompile("^" + pattern + "$").MatchString(requested) {
			return p
		}
	}
	return nil
}

// Pages that people wrote rot when the engine moves on. What they tell an operator to
// type must be there.
func TestDocumentedCommandsExist(t *testing.T) {
	paths := all(t)
	count := 0
	for _, p := range pages(t) {
		for _, match := range command.FindAllStringSubmatch(p.text, -1) {
			refused, verb, requested, rest := match[1] != "", match[2], match[4], match[5]
			where := fmt.Sprintf("%s: %s", p.name, match[0])
			found := find(paths, requested)
			require.NotNil(t, found, "%s: there is no such path", where)
			_, possible := found.Operations[operators[verb]]
			require.True(t, possible || verb == "path-help", where)
			for _, given := range parameter.FindAllStringSubmatch(rest, -1) {
				_, known := found.Fields[given[1]]
				require.True(t, known || refused, "%s: there is no field %s", where, given[1]) // a page may show what is refused
			}
			count++
		}
	}
	require.Greater(t, count, 30, "the pages are read wrongly")
}

// resources says which path a resource of the Vault provider writes, and which of its
// arguments are the provider's own.
var resources = map[string]struct{ path, own string }{
	"vault_pki_secret_backend_role":           {"roles/x", "backend name"},
	"vault_pki_secret_backend_config_urls":    {"config/urls", "backend"},
	"vault_pki_secret_backend_config_cluster": {"config/cluster", "backend"},
	"vault_pki_secret_backend_crl_config":     {"config/crl", "backend"},
}

var (
	resource = regexp.MustCompile(`(?s)\nresource "([a-z_]+)" "[a-z]+" \{\n(.*?)\n\}`)
	argument = regexp.MustCompile(`(?m)^ +([a-z0-9_]+) += `)
	endpoint = regexp.MustCompile(`path += "\$\{vault_mount\.pki\.path\}/([^"]+)"`)
	encoded  = regexp.MustCompile(`(?s)jsonencode\(\{(.*)\}\)`)
)

func TestDocumentedTerraformFieldsExist(t *testing.T) {
	paths := all(t)
	count := 0
	check := func(where, requested, arguments, own string) {
		found := find(paths, requested)
		require.NotNil(t, found, "%s: there is no path %s", where, requested)
		for _, match := range argument.FindAllStringSubmatch(arguments, -1) {
			if strings.Contains(" "+own+" ", " "+match[1]+" ") {
				continue
			}
			_, known := found.Fields[match[1]]
			require.True(t, known, "%s: there is no field %s", where, match[1])
			count++
		}
	}
	for _, p := range pages(t) {
		for _, block := range p.blocks("hcl") {
			for _, match := range resource.FindAllStringSubmatch("\n"+block, -1) {
				kind, body := match[1], match[2]
				where := p.name + ": " + kind
				switch known, ok := resources[kind]; {
				case ok:
					check(where, known.path, body, known.own)
				case kind == "vault_generic_endpoint":
					target, data := endpoint.FindStringSubmatch(body), encoded.FindStringSubmatch(body)
					require.NotNil(t, target, where)
					require.NotNil(t, data, where)
					check(where, target[1], data[1], "")
				default:
					require.Equal(t, "vault_mount", kind, where)
				}
			}
		}
	}
	require.Positive(t, count)
}

var granted = regexp.MustCompile(`(?m)^path "(?:pki|\$PKI_MOUNT)/([^"]+)" +\{`)

// A policy for a path that does not exist grants nothing, silently.
func TestDocumentedPoliciesNamePathsThatExist(t *testing.T) {
	paths := all(t)
	count := 0
	for _, p := range pages(t) {
		for _, match := range granted.FindAllStringSubmatch(p.text, -1) {
			prefix, open := strings.CutSuffix(match[1], "*")
			known := find(paths, strings.ReplaceAll(match[1], "*", "x")) != nil || open && slices.ContainsFunc(paths, func(p *framework.Path) bool {
				return strings.HasPrefix(strings.TrimPrefix(p.Pattern, "^"), prefix)
			})
			require.True(t, known, "%s: %s", p.name, match[0])
			count++
		}
	}
	require.Positive(t, count)
}

func TestDocumentedYAMLAndJSONIsWellFormed(t *testing.T) {
	paths := all(t)
	count := 0
	for _, p := range pages(t) {
		for _, block := range p.blocks("json") {
			require.True(t, json.Valid([]byte(block)), "%s: %s", p.name, block)
		}
		for _, block := range p.blocks("yaml") {
			decoder := yaml.NewDecoder(strings.NewReader(block))
			for {
				var document struct {
					Spec struct {
						Vault struct {
							Path string `yaml:"path"`
						} `yaml:"vault"`
					} `yaml:"spec"`
				}
				err := decoder.Decode(&document)
				if errors.Is(err, io.EOF) {
					break
				}
				require.NoError(t, err, "%s: %s", p.name, block)
				if requested, ours := strings.CutPrefix(document.Spec.Vault.Path, "pki/"); ours {
					require.NotNil(t, find(paths, requested), "%s: %s", p.name, requested)
				}
				count++
			}
		}
	}
	require.Positive(t, count)
}

var link = regexp.MustCompile(`\]\(([^)#:]+)(?:#[^)]*)?\)`)

func TestDocumentedLinksLeadSomewhere(t *testing.T) {
	count := 0
	for _, p := range pages(t) {
		for _, match := range link.FindAllStringSubmatch(p.text, -1) {
			_, err := os.Stat(filepath.Join(filepath.Dir(p.name), match[1]))
			require.NoError(t, err, p.name)
			count++
		}
	}
	require.Positive(t, count)
}
