package arch_test

import (
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"testing"
)

// invented are names that this project once gave to things for which the field has a term,
// with the term. Words of a standard, of the glossary or of everyday English do not belong here.
var invented = map[string]string{
	"made anew":       "rebuilt",
	"fetched anew":    "fetched again",
	"the ca above":    "the parent CA",
	"the cas above":   "the parent CAs",
	"tells of":        "reports",
	"ended long ago":  "expired",
	"complete list":   "complete CRL",
	"delta list":      "delta CRL",
	"order to revoke": "revocation",
}

// written returns the text that readers of the product get, by file: pages that people write,
// and descriptions in the code, which path-help and the reference show.
func written(t *testing.T) map[string]string {
	t.Helper()
	texts := map[string]string{}
	for _, pattern := range []string{"README.md", "CONTRIBUTING.md", "docs/*.md", "docs/how-to/*.md", "docs/tutorials/*.md"} {
		names, err := filepath.Glob(filepath.Join(root, filepath.FromSlash(pattern)))
		if err != nil {
			t.Fatal(err)
		}
		for _, name := range names {
			content, err := os.ReadFile(name)
			if err != nil {
				t.Fatal(err)
			}
			texts[name] = string(content)
		}
	}
	for _, folder := range []string{"backend", "paths"} {
		err := filepath.WalkDir(filepath.Join(root, folder), func(name string, entry fs.DirEntry, err error) error {
			if err != nil || entry.IsDir() || !strings.HasSuffix(name, ".go") || strings.HasSuffix(name, "_test.go") {
				return err
			}
			content, err := os.ReadFile(name)
			texts[name] = strings.Join(described.FindAllString(string(content), -1), "\n")
			return err
		})
		if err != nil {
			t.Fatal(err)
		}
	}
	return texts
}

// described matches descriptions of fields, and the help of paths.
var described = regexp.MustCompile("(?s)doc:\"[^\"]*\"|Help = `[^`]*`|schema\\.(?:Path|Read|Write|Patch|Delete|List)\\(\"[^\"]*\"(?:, \"[^\"]*\")?")

// Pages and descriptions use the terms of the field.
func TestTextHasNoInventedWords(t *testing.T) {
	var violations []string
	for name, text := range written(t) {
		for number, line := range strings.Split(strings.ToLower(text), "\n") {
			for word, term := range invented {
				if strings.Contains(line, word) {
					violations = append(violations, name+": line "+strconv.Itoa(number+1)+": "+word+" (write: "+term+")")
				}
			}
		}
	}
	none(t, violations)
}
