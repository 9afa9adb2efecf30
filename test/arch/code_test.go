package arch_test

import (
	"fmt"
	"go/ast"
	"go/token"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

// Since and Until take the time as well.
var clock = []string{"Now", "Since", "Until"}

func TestTimeIsTakenOnceAtEachRim(t *testing.T) {
	taken := map[string][]string{}
	var violations []string
	for _, s := range sources(t) {
		if s.test || within(s.dir, "test") {
			continue
		}
		for _, selector := range selectors(s, "time") {
			if !slices.Contains(clock, selector.Sel.Name) {
				continue
			}
			where := s.at(selector) + " uses time." + selector.Sel.Name
			if rim := rimOf(s.dir); rim != "" {
				taken[rim] = append(taken[rim], where)
			} else {
				violations = append(violations, where)
			}
		}
	}
	for rim, places := range taken {
		if len(places) > 1 {
			violations = append(violations, fmt.Sprintf("%s takes the time in %d places: %s", rim, len(places), strings.Join(places, ", ")))
		}
	}
	none(t, violations)
}

func rimOf(dir string) string {
	for rim, folders := range rims {
		if slices.ContainsFunc(folders, func(folder string) bool { return within(dir, folder) }) {
			return rim
		}
	}
	return ""
}

func TestOnlySignCallsX509Create(t *testing.T) {
	var violations []string
	for _, s := range sources(t) {
		if s.test || s.dir == "backend/sign" || within(s.dir, "test") {
			continue
		}
		for _, selector := range selectors(s, "crypto/x509") {
			if strings.HasPrefix(selector.Sel.Name, "Create") {
				violations = append(violations, s.at(selector)+" uses x509."+selector.Sel.Name)
			}
		}
	}
	none(t, violations)
}

// encodedKeys are the folders and files that may look at the encoding of a public key:
// where its canonical form is demanded, and where RFC 6960 and RFC 5280 hash its bits.
var encodedKeys = []string{"backend/cert", "backend/crl/encode.go", "backend/ocsp/response.go"}

func TestId1_PublicKeysAreComparedParsed(t *testing.T) {
	var violations []string
	for _, s := range sources(t) {
		if s.test || slices.ContainsFunc(encodedKeys, func(place string) bool { return within(s.path, place) }) {
			continue
		}
		ast.Inspect(s.file, func(node ast.Node) bool {
			if selector, ok := node.(*ast.SelectorExpr); ok && selector.Sel.Name == "RawSubjectPublicKeyInfo" {
				violations = append(violations, s.at(selector)+" looks at the encoding of a key: compare cert.KeyFingerprint or cert.Equal")
			}
			return true
		})
	}
	none(t, violations)
}

func TestNoChanceButCryptoRand(t *testing.T) {
	var violations []string
	for _, s := range sources(t) {
		for _, path := range s.imports() {
			if within(path, "math/rand") {
				violations = append(violations, s.path+" imports "+path)
			}
		}
	}
	none(t, violations)
}

func TestNothingIsLeftUnwritten(t *testing.T) {
	var violations []string
	for _, s := range sources(t) {
		ast.Inspect(s.file, func(node ast.Node) bool {
			call, ok := node.(*ast.CallExpr)
			if !ok || len(call.Args) != 1 {
				return true
			}
			function, _ := call.Fun.(*ast.Ident)
			text, _ := call.Args[0].(*ast.BasicLit)
			if function != nil && function.Name == "panic" && text != nil && text.Value == strconv.Quote("not written") {
				violations = append(violations, s.at(call))
			}
			return true
		})
	}
	none(t, violations)
}

// testHandles are the names by which tests call their testing.T, B, F and TB.
var testHandles = []string{"t", "b", "f", "tb"}

func TestNoTestSkipsOrSleeps(t *testing.T) {
	var violations []string
	for _, s := range sources(t) {
		if !s.test {
			continue
		}
		ast.Inspect(s.file, func(node ast.Node) bool {
			selector, ok := node.(*ast.SelectorExpr)
			if !ok {
				return true
			}
			receiver, _ := selector.X.(*ast.Ident)
			if receiver != nil && slices.Contains(testHandles, receiver.Name) && slices.Contains([]string{"Skip", "Skipf", "SkipNow"}, selector.Sel.Name) {
				violations = append(violations, s.at(selector)+" skips: a missing tool is a failure that names its package")
			}
			return true
		})
		if within(s.dir, "test/e2e") {
			continue
		}
		for _, selector := range selectors(s, "time") {
			if selector.Sel.Name == "Sleep" && !inBubble(s, selector) {
				violations = append(violations, s.at(selector)+" sleeps: use testing/synctest")
			}
		}
	}
	none(t, violations)
}

// inBubble reports whether a node lies in a call of synctest.Test, where sleeping
// moves the bubble's clock and takes no time.
func inBubble(s source, node ast.Node) bool {
	found := false
	ast.Inspect(s.file, func(candidate ast.Node) bool {
		call, ok := candidate.(*ast.CallExpr)
		if !ok {
			return true
		}
		selector, _ := call.Fun.(*ast.SelectorExpr)
		bubble := selector != nil && slices.Contains(selectors(s, "testing/synctest"), selector) && selector.Sel.Name == "Test"
		found = found || bubble && call.Pos() <= node.Pos() && node.End() <= call.End()
		return !found
	})
	return found
}

func TestFilesAndFunctionsStayShort(t *testing.T) {
	var violations []string
	for _, s := range sources(t) {
		if s.lines > maxFile && longFiles[s.path] == "" {
			violations = append(violations, fmt.Sprintf("%s has %d lines, more than %d", s.path, s.lines, maxFile))
		}
		limit := maxFunction
		if s.test {
			limit = maxTestFunction
		}
		for _, declaration := range s.file.Decls {
			function, ok := declaration.(*ast.FuncDecl)
			if !ok {
				continue
			}
			lines := s.fset.Position(function.End()).Line - s.fset.Position(function.Pos()).Line + 1
			if lines > limit {
				violations = append(violations, fmt.Sprintf("%s: %s has %d lines, more than %d", s.at(function), function.Name.Name, lines, limit))
			}
		}
	}
	none(t, violations)
}

func TestStructsStaySmall(t *testing.T) {
	var violations []string
	for _, s := range sources(t) {
		if s.test {
			continue
		}
		for _, spec := range typesOf(s) {
			structure, ok := spec.Type.(*ast.StructType)
			if !ok || records[s.dir+"."+spec.Name.Name] != "" || isAPIRecord(structure) {
				continue
			}
			if count := structure.Fields.NumFields(); count >= maxFields+1 {
				violations = append(violations, fmt.Sprintf("%s: %s has %d fields, more than %d", s.at(spec), spec.Name.Name, count, maxFields))
			}
		}
	}
	none(t, violations)
}

// isAPIRecord reports whether every field has a json tag, or is embedded and so holds
// further ones.
func isAPIRecord(structure *ast.StructType) bool {
	for _, field := range structure.Fields.List {
		if len(field.Names) == 0 {
			continue
		}
		if field.Tag == nil || !strings.Contains(field.Tag.Value, `json:"`) {
			return false
		}
	}
	return true
}

func typesOf(s source) []*ast.TypeSpec {
	var found []*ast.TypeSpec
	for _, declaration := range s.file.Decls {
		general, ok := declaration.(*ast.GenDecl)
		if !ok || general.Tok != token.TYPE {
			continue
		}
		for _, spec := range general.Specs {
			found = append(found, spec.(*ast.TypeSpec)) // go/ast: a TYPE declaration holds nothing else
		}
	}
	return found
}

// An exemption that exempts nothing is a hole that waits.
func TestEveryExemptionIsNeeded(t *testing.T) {
	used := map[string]bool{}
	for _, s := range sources(t) {
		if s.lines > maxFile {
			used[s.path] = true
		}
		for _, spec := range typesOf(s) {
			if structure, ok := spec.Type.(*ast.StructType); ok && structure.Fields.NumFields() > maxFields {
				used[s.dir+"."+spec.Name.Name] = true
			}
		}
	}
	for path := range longFiles {
		require.True(t, used[path], "%s is short, or gone", path)
	}
	for name := range records {
		require.True(t, used[name], "%s is small, or gone", name)
	}
}
