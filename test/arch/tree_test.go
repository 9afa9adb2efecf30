package arch_test

import (
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"testing"

	"github.com/stretchr/testify/require"
)

const (
	module = "vault-plugin-secrets-enterprise-pki"
	root   = "../.."
)

// source is one parsed Go file of the module.
type source struct {
	path  string // below the root, with slashes
	dir   string
	test  bool
	lines int
	fset  *token.FileSet
	file  *ast.File
}

// tree parses every Go file of the module once, whatever its build constraints.
var tree = sync.OnceValues(func() ([]source, error) {
	var found []source
	err := filepath.WalkDir(root, func(path string, entry fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		relative := filepath.ToSlash(strings.TrimPrefix(path, root+string(filepath.Separator)))
		if entry.IsDir() {
			return enter(path, relative)
		}
		if !strings.HasSuffix(path, ".go") {
			return nil
		}
		parsed, err := parse(path, relative)
		if err != nil {
			return err
		}
		found = append(found, parsed)
		return nil
	})
	return found, err
})

// enter skips folders that hold no source of this module.
func enter(path, relative string) error {
	base := filepath.Base(path)
	if relative != root && (strings.HasPrefix(base, ".") || base == "testdata" || relative == "bin") {
		return fs.SkipDir
	}
	if _, err := os.Stat(filepath.Join(path, "go.mod")); err == nil && relative != root {
		return fs.SkipDir // a module of its own
	}
	return nil
}

func parse(path, relative string) (source, error) {
	content, err := os.ReadFile(path)
	if err != nil {
		return source{}, err
	}
	fset := token.NewFileSet()
	file, err := parser.ParseFile(fset, relative, content, parser.ParseComments|parser.SkipObjectResolution)
	if err != nil {
		return source{}, err
	}
	return source{
		path:  relative,
		dir:   filepath.ToSlash(filepath.Dir(relative)),
		test:  strings.HasSuffix(relative, "_test.go"),
		lines: strings.Count(string(content), "\n"),
		fset:  fset,
		file:  file,
	}, nil
}

// sources returns the parsed tree; an empty one fails, since no rule could.
func sources(t *testing.T) []source {
	t.Helper()
	found, err := tree()
	require.NoError(t, err)
	require.NotEmpty(t, found)
	return found
}

// at returns "path:line" of a node.
func (s source) at(node ast.Node) string {
	return s.path + ":" + strconv.Itoa(s.fset.Position(node.Pos()).Line)
}

// imports returns the paths that the file imports.
func (s source) imports() []string {
	paths := make([]string, 0, len(s.file.Imports))
	for _, spec := range s.file.Imports {
		path, _ := strconv.Unquote(spec.Path.Value) // the parser accepted it
		paths = append(paths, path)
	}
	return paths
}

// nameOf returns the name by which the file refers to an imported package, "" when it
// does not import it.
func (s source) nameOf(path string) string {
	for _, spec := range s.file.Imports {
		if spec.Path.Value != strconv.Quote(path) {
			continue
		}
		if spec.Name != nil {
			return spec.Name.Name
		}
		return path[strings.LastIndex(path, "/")+1:]
	}
	return ""
}

// selectors returns every expression package.Name of the file for an imported package.
func selectors(s source, path string) []*ast.SelectorExpr {
	name := s.nameOf(path)
	var found []*ast.SelectorExpr
	ast.Inspect(s.file, func(node ast.Node) bool {
		if selector, ok := node.(*ast.SelectorExpr); ok {
			if ident, ok := selector.X.(*ast.Ident); ok && name != "" && ident.Name == name {
				found = append(found, selector)
			}
		}
		return true
	})
	return found
}

// within reports whether dir is the folder or lies below it.
func within(dir, folder string) bool {
	return dir == folder || strings.HasPrefix(dir, folder+"/")
}

// none fails the test with every violation that was found, one per line.
func none(t *testing.T, violations []string) {
	t.Helper()
	if len(violations) > 0 {
		t.Errorf("%d violations:\n%s", len(violations), strings.Join(violations, "\n"))
	}
}
