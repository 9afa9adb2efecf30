package arch_test

import (
	"go/ast"
	"slices"
	"strings"
	"testing"
)

func TestEveryPackageStatesItsPromise(t *testing.T) {
	comments := map[string][]string{} // by folder
	commands := map[string]bool{}
	for _, s := range sources(t) {
		if s.test {
			continue
		}
		comments[s.dir] = append(comments[s.dir], docText(s.file.Doc))
		commands[s.dir] = s.file.Name.Name == "main"
	}
	var violations []string
	for dir, found := range comments {
		base := dir[strings.LastIndex(dir, "/")+1:]
		wanted := "Package " + base + " promises "
		if commands[dir] {
			wanted = "Command " + base + " "
		}
		states := func(comment string) bool { return strings.HasPrefix(oneLine(comment), wanted) }
		if !slices.ContainsFunc(found, states) {
			violations = append(violations, dir+": no package comment begins with \""+wanted+"\"")
		}
	}
	slices.Sort(violations)
	none(t, violations)
}

func TestExportedIdentifiersAreDocumented(t *testing.T) {
	var violations []string
	for _, s := range sources(t) {
		if s.test {
			continue
		}
		for _, declaration := range s.file.Decls {
			switch d := declaration.(type) {
			case *ast.FuncDecl:
				if d.Name.IsExported() && receiverIsExported(d) && d.Doc == nil {
					violations = append(violations, s.at(d)+" "+d.Name.Name)
				}
			case *ast.GenDecl:
				violations = append(violations, undocumented(s, d)...)
			}
		}
	}
	none(t, violations)
}

// undocumented lists the exported names of a declaration that nothing documents: for
// a group, its own comment is enough.
func undocumented(s source, d *ast.GenDecl) []string {
	var found []string
	for _, spec := range d.Specs {
		switch spec := spec.(type) {
		case *ast.TypeSpec:
			if !spec.Name.IsExported() {
				continue
			}
			if d.Doc == nil && spec.Doc == nil {
				found = append(found, s.at(spec)+" "+spec.Name.Name)
			}
			found = append(found, undocumentedMethods(s, spec)...)
		case *ast.ValueSpec:
			for _, name := range spec.Names {
				if name.IsExported() && d.Doc == nil && spec.Doc == nil && spec.Comment == nil {
					found = append(found, s.at(name)+" "+name.Name)
				}
			}
		}
	}
	return found
}

// undocumentedMethods lists the methods of an interface that state no contract.
func undocumentedMethods(s source, spec *ast.TypeSpec) []string {
	contract, ok := spec.Type.(*ast.InterfaceType)
	if !ok {
		return nil
	}
	var found []string
	for _, method := range contract.Methods.List {
		for _, name := range method.Names { // none for an embedded interface
			if name.IsExported() && method.Doc == nil && method.Comment == nil {
				found = append(found, s.at(name)+" "+spec.Name.Name+"."+name.Name)
			}
		}
	}
	return found
}

func receiverIsExported(d *ast.FuncDecl) bool {
	if d.Recv == nil {
		return true
	}
	expression := d.Recv.List[0].Type
	for {
		switch e := expression.(type) {
		case *ast.StarExpr:
			expression = e.X
		case *ast.IndexExpr:
			expression = e.X
		case *ast.IndexListExpr:
			expression = e.X
		case *ast.Ident:
			return e.IsExported()
		default:
			return false
		}
	}
}

// docText returns a comment's text, "" for none.
func docText(comment *ast.CommentGroup) string {
	if comment == nil {
		return ""
	}
	return comment.Text()
}

func oneLine(text string) string { return strings.Join(strings.Fields(text), " ") }
