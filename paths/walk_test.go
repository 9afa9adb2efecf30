package paths_test

import (
	"net/http"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/hashicorp/vault/sdk/framework"
	"github.com/hashicorp/vault/sdk/logical"
	"github.com/stretchr/testify/require"

	"vault-plugin-secrets-enterprise-pki/paths"
	"vault-plugin-secrets-enterprise-pki/paths/pathstest"
)

var capture = regexp.MustCompile(`\(\?P<(\w+)>[^)]*\)`)

// samples are values that captures accept; everything else accepts "sample".
var samples = map[string]string{"version": "1", "exported": "internal", "serial": "01:02", "req": "MAo="}

// sample returns a path that the pattern matches.
func sample(p *framework.Path) string {
	pattern := strings.TrimSuffix(strings.TrimPrefix(strings.TrimSuffix(p.Pattern, "$"), "^"), "/?")
	return capture.ReplaceAllStringFunc(pattern, func(group string) string {
		if value, ok := samples[capture.FindStringSubmatch(group)[1]]; ok {
			return value
		}
		return "sample"
	})
}

// captured lists the fields that the path captures.
func captured(p *framework.Path) []string {
	var names []string
	for _, group := range capture.FindAllStringSubmatch(p.Pattern, -1) {
		names = append(names, group[1])
	}
	return names
}

// operations lists the operations of a path in a fixed order.
func operations(p *framework.Path) []logical.Operation {
	var found []logical.Operation
	for _, operation := range []logical.Operation{
		logical.ReadOperation, logical.ListOperation, logical.UpdateOperation, logical.PatchOperation, logical.DeleteOperation,
	} {
		if p.Operations[operation] != nil {
			found = append(found, operation)
		}
	}
	return found
}

// all returns the paths of a mount made for the purpose.
func all(t *testing.T) []*framework.Path {
	t.Helper()
	found := paths.Paths(pathstest.InProcess(t).Backend())
	require.NotEmpty(t, found)
	return found
}

// wrong lists values that a field of the type must refuse.
func wrong(kind framework.FieldType) []any {
	object := map[string]any{"a": []any{1}}
	switch kind {
	case framework.TypeBool:
		return []any{"maybe", 7, object, []any{true}}
	case framework.TypeInt, framework.TypeInt64, framework.TypeDurationSecond:
		return []any{"many", 1.5, true, object, []any{1}, 1e300, "99999999999999999999"}
	case framework.TypeCommaStringSlice:
		return []any{7, true, object, []any{1}, []any{nil}, []any{"a", object}}
	case framework.TypeKVPairs:
		return []any{7, true, object, []any{1}, "no assignment", map[string]any{"a": nil}}
	case framework.TypeSlice:
		return []any{"text", 7, object, []any{1}, []any{nil}, []any{map[string]any{"unknown": 1}}}
	case framework.TypeMap:
		return []any{"text", 7, []any{1}}
	}
	return []any{true, object, []any{1}, []any{object}} // a duration kept as text takes numbers
}

// described counts the operations that the generated OpenAPI document has.
func described(t *testing.T) int {
	t.Helper()
	document, ok := pathstest.InProcess(t).Do(t, logical.HelpOperation, "", nil).OK().Data["openapi"].(map[string]any)
	require.True(t, ok)
	count := 0
	for _, item := range document["paths"].(map[string]any) {
		for _, operation := range item.(map[string]any) {
			if fields, ok := operation.(map[string]any); ok && fields["operationId"] != nil {
				count++
			}
		}
	}
	return count
}

func TestNull1_EveryFieldOfEveryPathRefusesWrongTypesAndNullInAPatch(t *testing.T) {
	pathstest.Each(t, func(t *testing.T, m *pathstest.Mount) {
		refused, cases := 0, 0
		for _, p := range all(t) {
			for _, operation := range operations(p) {
				for name, field := range p.Fields {
					values := wrong(field.Type)
					if operation == logical.PatchOperation {
						values = append(values, nil)
					}
					for _, value := range values {
						answer := m.Do(t, operation, sample(p), map[string]any{name: value})
						require.Equal(t, http.StatusBadRequest, answer.Status, "%s %s: %s=%v: %v", operation, p.Pattern, name, value, answer.Errors)
						require.NotEmpty(t, answer.Errors)
						require.Contains(t, answer.Errors[0], name, "%s %s: %v", operation, p.Pattern, value)
						refused++
					}
				}
				cases++
			}
		}
		require.Equal(t, described(t), cases, "operations that OpenAPI describes")
		require.Greater(t, refused, 5000)
	})
}

// A request is told what is wrong with it in the order of its fields' names: one that is
// refused for a field after the null was not refused for the null.
func TestNull1_NullMeansNotGivenInEveryFieldOfEveryPath(t *testing.T) {
	pathstest.Each(t, func(t *testing.T, m *pathstest.Mount) {
		taken := 0
		for _, p := range all(t) {
			for _, operation := range operations(p) {
				if operation == logical.PatchOperation {
					continue
				}
				for name := range p.Fields {
					answer := m.Do(t, operation, sample(p), map[string]any{name: nil, "zz_no_such_field": 1})
					require.Equal(t, http.StatusBadRequest, answer.Status, "%s %s: %s: %v", operation, p.Pattern, name, answer.Errors)
					require.Contains(t, answer.Errors[0], "is not a known field", "%s %s: %s", operation, p.Pattern, name)
					taken++
				}
			}
		}
		require.Greater(t, taken, 500)
	})
}

func TestFields1_EveryPathRefusesUnknownFields(t *testing.T) {
	pathstest.Each(t, func(t *testing.T, m *pathstest.Mount) {
		walked := map[logical.Operation]int{}
		for _, p := range all(t) {
			require.Len(t, operations(p), len(p.Operations), "%s has an operation that no walk takes", p.Pattern)
			for _, operation := range operations(p) {
				walked[operation]++
				answer := m.Do(t, operation, sample(p), map[string]any{"no_such_field": "x"})
				require.Equal(t, http.StatusBadRequest, answer.Status, "%s %s: %v", operation, p.Pattern, answer.Errors)
				require.Contains(t, answer.Errors[0], "no_such_field: is not a known field")
			}
		}
		require.Len(t, walked, 5, "reads, lists, writes, patches and deletes: %v", walked)
	})
}

func TestAuthz2_EveryPathRefusesOtherSpellingsOfNames(t *testing.T) {
	m := pathstest.InProcess(t)
	checked := 0
	for _, p := range all(t) {
		for _, name := range captured(p) {
			if samples[name] != "" {
				continue
			}
			for _, spelling := range []string{"..", ".", "a..b", "a b", "%2e%2e", "a%2fb", "a\x00", "-a", "ａ"} {
				path := strings.Replace(sample(p), "sample", spelling, 1)
				for _, operation := range operations(p) {
					answer := m.Do(t, operation, path, nil)
					require.Equal(t, http.StatusBadRequest, answer.Status, "%s %q: %v", operation, path, answer.Errors)
					checked++
				}
			}
		}
	}
	require.Greater(t, checked, 100)
}

func TestAuthz1_UnauthenticatedPathsOnlyRead(t *testing.T) {
	m := pathstest.InProcess(t)
	special := m.Backend().SpecialPaths()
	used := map[string]bool{}
	for _, p := range all(t) {
		path := sample(p)
		for _, pattern := range special.Unauthenticated {
			if !matches(pattern, path) {
				continue
			}
			used[pattern] = true
			for _, operation := range operations(p) {
				require.Contains(t, []logical.Operation{logical.ReadOperation, logical.ListOperation}, operation, path)
			}
			for _, operation := range []logical.Operation{logical.UpdateOperation, logical.PatchOperation, logical.DeleteOperation} {
				require.Equal(t, http.StatusMethodNotAllowed, m.Do(t, operation, path, nil).Status, "%s %s", operation, path)
			}
		}
		sudo := strings.HasPrefix(path, "hsm") || slices.Contains([]string{"fsck", "root/sign-self-issued", "keys/import/kms"}, path)
		require.Equal(t, sudo, slices.ContainsFunc(special.Root, func(pattern string) bool { return matches(pattern, path) }), path)
	}
	for _, pattern := range special.Unauthenticated {
		require.True(t, used[pattern], "%s is open and matches no path", pattern)
	}
	require.Contains(t, special.SealWrapStorage, "key/")
}

// matches is Vault's matching of special paths: + is a segment, a final * anything.
func matches(pattern, path string) bool {
	expression := strings.ReplaceAll(regexp.QuoteMeta(pattern), `\+`, `[^/]+`)
	expression = strings.TrimSuffix(expression, `\*`)
	if !strings.HasSuffix(pattern, "*") {
		expression += "$"
	}
	return regexp.MustCompile("^" + expression).MatchString(path)
}

func TestEveryPathIsReached(t *testing.T) {
	m := pathstest.InProcess(t)
	router, ok := m.Backend().(interface{ Route(string) *framework.Path })
	require.True(t, ok)
	for _, p := range paths.Paths(m.Backend()) {
		reached := router.Route(sample(p))
		require.NotNil(t, reached, p.Pattern)
		require.Equal(t, p.Pattern, reached.Pattern, "%s is shadowed", sample(p))
	}
}

func TestPathHelpSaysEverything(t *testing.T) {
	m := pathstest.InProcess(t)
	for _, p := range all(t) {
		require.NotEmpty(t, p.HelpSynopsis, p.Pattern)
		require.NotEmpty(t, p.HelpDescription, p.Pattern)
		require.True(t, strings.HasSuffix(p.HelpSynopsis, "."), p.Pattern)
		for name, field := range p.Fields {
			require.NotEmpty(t, field.Description, "%s: %s", p.Pattern, name)
			require.Regexp(t, `[.]$`, field.Description, "%s: %s", p.Pattern, name)
		}
		for operation, handler := range p.Operations {
			require.NotEmpty(t, handler.Properties().Summary, "%s %s", operation, p.Pattern)
			require.NotEqual(t, logical.CreateOperation, operation, "a create operation costs a read before each write")
			for _, responses := range handler.Properties().Responses {
				for name, field := range responses[0].Fields {
					require.NotEmpty(t, field.Description, "%s %s answers %s", operation, p.Pattern, name)
				}
			}
		}
		answer := m.Do(t, logical.HelpOperation, sample(p), nil).OK()
		help := answer.Text("help")
		require.Contains(t, help, p.HelpSynopsis)
		require.NotContains(t, help, "<no ")
	}
}

func TestOpenAPIDescribesEveryOperation(t *testing.T) {
	m := pathstest.InProcess(t)
	answer := m.Do(t, logical.HelpOperation, "", nil).OK()
	document, ok := answer.Data["openapi"].(map[string]any)
	require.True(t, ok)
	described, ok := document["paths"].(map[string]any)
	require.True(t, ok)
	identifiers := map[string]string{}
	for path, item := range described {
		for method, operation := range item.(map[string]any) {
			operation, ok := operation.(map[string]any)
			if !ok || operation["operationId"] == nil {
				continue
			}
			id := operation["operationId"].(string)
			require.Empty(t, identifiers[id], "%s is the id of %s and of %s %s", id, identifiers[id], method, path)
			identifiers[id] = method + " " + path
		}
	}
	want := 0
	for _, p := range all(t) {
		want += len(p.Operations)
	}
	require.Len(t, identifiers, want)
	require.NotContains(t, m.Log.String(), "OpenAPI", "the framework found something to complain about")
}

func TestEveryListIsPaged(t *testing.T) {
	lists := 0
	for _, p := range all(t) {
		if p.Operations[logical.ListOperation] != nil {
			require.Contains(t, p.Fields, "after", p.Pattern)
			require.Contains(t, p.Fields, "limit", p.Pattern)
			require.True(t, strings.HasSuffix(strings.TrimSuffix(p.Pattern, "$"), "/?"), p.Pattern)
			lists++
		}
	}
	require.Positive(t, lists)
}

func TestEveryChangeIsForwardedToTheLeader(t *testing.T) {
	for _, p := range all(t) {
		for operation, handler := range p.Operations {
			if operation != logical.ReadOperation && operation != logical.ListOperation {
				require.True(t, handler.Properties().ForwardPerformanceStandby, "%s %s", operation, p.Pattern)
			}
		}
	}
}
