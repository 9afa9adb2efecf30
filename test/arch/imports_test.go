package arch_test

import (
	"encoding/json"
	"fmt"
	"os/exec"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"vault-plugin-secrets-enterprise-pki/backend/layout"
)

func TestImportTableRunsStraightDown(t *testing.T) {
	table := byPath()
	require.Len(t, table, len(rooms), "a path is listed twice")
	var violations []string
	for _, r := range rooms {
		for _, path := range r.allowed() {
			lower, listed := table[path]
			switch {
			case !listed:
				violations = append(violations, fmt.Sprintf("%s may import %s, which has no row", r.path, path))
			case lower.floor >= r.floor:
				violations = append(violations, fmt.Sprintf("%s (floor %d) may not import %s (floor %d)", r.path, r.floor, path, lower.floor))
			}
		}
	}
	none(t, violations)
}

func TestImportTableListsExactlyThePackagesThereAre(t *testing.T) {
	table := byPath()
	exists := map[string]bool{}
	for _, s := range sources(t) {
		exists[s.dir] = true
	}
	var violations []string
	for dir := range exists {
		if _, listed := table[dir]; !listed && !within(dir, "test/e2e") {
			violations = append(violations, dir+" has no row in the import table")
		}
	}
	for path := range table {
		if !exists[path] {
			violations = append(violations, path+" is in the import table and does not exist")
		}
	}
	slices.Sort(violations)
	none(t, violations)
}

func TestPackagesImportOnlyWhatTheirRowAllows(t *testing.T) {
	table := byPath()
	var violations []string
	for _, s := range sources(t) {
		row := s.dir
		if _, listed := table[row]; !listed && within(row, "test/e2e") {
			row = "test/e2e" // scenarios may be packages of their own
		}
		allowed := table[row].allowed()
		if s.test {
			// A test may build what its room works on out of anything below.
			allowed = append(allowed, s.dir)
			allowed = append(allowed, forTests...)
			for path := range below(row, table, map[string]bool{}) {
				allowed = append(allowed, path)
			}
		}
		for _, path := range s.imports() {
			ours, is := strings.CutPrefix(path, module+"/")
			if is && !slices.Contains(allowed, ours) {
				violations = append(violations, fmt.Sprintf("%s imports %s", s.path, ours))
			}
		}
	}
	none(t, violations)
}

func TestOnlyThePluginSideImportsVault(t *testing.T) {
	var violations []string
	for _, s := range sources(t) {
		mayImport := slices.ContainsFunc(vaultImporters, func(folder string) bool { return within(s.dir, folder) })
		for _, path := range s.imports() {
			if within(path, "github.com/hashicorp/vault") && !mayImport {
				violations = append(violations, fmt.Sprintf("%s imports %s", s.path, path))
			}
		}
	}
	none(t, violations)
}

// Vault itself is under the BUSL; its SDK and API are under the MPL, as we are.
func TestGoModNamesVaultsSDKAndAPIAlone(t *testing.T) {
	output, err := exec.Command("go", "mod", "edit", "-json", root+"/go.mod").Output()
	require.NoError(t, err)
	var mod struct {
		Require []struct{ Path string }
		Replace []struct{ New struct{ Path string } }
		Tool    []struct{ Path string }
	}
	require.NoError(t, json.Unmarshal(output, &mod))
	require.NotEmpty(t, mod.Require)
	var named []string
	for _, row := range mod.Require {
		named = append(named, row.Path)
	}
	for _, row := range mod.Replace {
		named = append(named, row.New.Path)
	}
	for _, row := range mod.Tool {
		named = append(named, row.Path)
	}
	for _, path := range named {
		if within(path, "github.com/hashicorp/vault") {
			require.Contains(t, []string{"github.com/hashicorp/vault/api", "github.com/hashicorp/vault/sdk"}, path)
		}
	}
}

// The package net itself cannot be refused: crypto/x509 parses IP addresses with it.
// Nor can crypto/tls where the PKCS#11 library is linked: a method of it returns a
// tls.Certificate. Both are harmless without the packages below, in which
// connections are made on someone's behalf, except by a call of our own, which
// TestOfflineCommandsOpenNoConnection refuses.
var networkPackages = []string{
	"net/http", "net/rpc", "net/smtp", "log/syslog", "expvar",
	"google.golang.org/grpc", "golang.org/x/net", "golang.org/x/crypto/ssh", "github.com/hashicorp/go-plugin",
}

func TestOfflineCommandsLinkNoNetworkPackage(t *testing.T) {
	for _, command := range offline {
		list := exec.Command("go", "list", "-deps", "-f", "{{.ImportPath}} {{join .Imports \" \"}}", "./"+command)
		list.Dir = root
		output, err := list.CombinedOutput()
		require.NoError(t, err, "%s", output)
		var violations []string
		for line := range strings.Lines(string(output)) {
			fields := strings.Fields(line)
			for _, imported := range fields[1:] {
				if networked(imported) {
					violations = append(violations, fmt.Sprintf("%s: %s imports %s", command, fields[0], imported))
				}
			}
		}
		none(t, violations)
	}
}

func networked(path string) bool {
	if path == "golang.org/x/net/idna" {
		return false // domain names as text
	}
	return slices.ContainsFunc(networkPackages, func(refused string) bool { return within(path, refused) })
}

func TestOfflineCommandsOpenNoConnection(t *testing.T) {
	table := byPath()
	var violations []string
	for _, command := range offline {
		linked := below(command, table, map[string]bool{command: true})
		for _, s := range sources(t) {
			if !linked[s.dir] || s.test {
				continue
			}
			if s.nameOf("crypto/tls") != "" {
				violations = append(violations, s.path+" imports crypto/tls")
			}
			violations = append(violations, connections(s)...)
		}
	}
	none(t, violations)
}

// connections lists what a file uses of package net to talk to others.
func connections(s source) []string {
	var found []string
	for _, selector := range selectors(s, "net") {
		for _, prefix := range []string{"Dial", "Listen", "Lookup", "Resolve", "DefaultResolver", "File"} {
			if strings.HasPrefix(selector.Sel.Name, prefix) {
				found = append(found, s.at(selector)+" uses net."+selector.Sel.Name)
			}
		}
	}
	return found
}

func TestEveryStoragePrefixHasAnOwnerThatExists(t *testing.T) {
	exists := map[string]bool{}
	for _, s := range sources(t) {
		exists[s.dir] = exists[s.dir] || !s.test
	}
	require.NotEmpty(t, layout.Table)
	var violations []string
	for _, row := range layout.Table {
		for _, name := range []string{row.Owner, row.Wakes} {
			if name != "" && !exists["backend/"+name] {
				violations = append(violations, fmt.Sprintf("prefix %s names the room %s, which does not exist", row.Prefix, name))
			}
		}
		if row.Owner == "" {
			violations = append(violations, "prefix "+row.Prefix+" has no owner")
		}
	}
	none(t, violations)
}
