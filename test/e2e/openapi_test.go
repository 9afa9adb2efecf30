package e2e_test

import (
	"encoding/json"
	"net/http"
	"strings"
	"testing"

	"github.com/getkin/kin-openapi/openapi3"
	"github.com/stretchr/testify/require"
)

// Generators of clients read the description of all mounts that the server publishes.
// The part of a mount of this engine is valid OpenAPI, and says which fields each request
// and each response has.
func TestCompatOpenAPIOfTheServer(t *testing.T) {
	mount := shadow(t)
	document := openAPIOf(t, mount)
	require.NoError(t, document.Validate(t.Context()))
	require.Greater(t, document.Paths.Len(), 80)
	bodies, responses := 0, 0
	for path, item := range document.Paths.Map() {
		for method, operation := range item.Operations() {
			where := method + " " + path
			require.NotEmpty(t, operation.OperationID, where)
			if operation.RequestBody != nil {
				requireFields(t, where+": request", operation.RequestBody.Value.Content)
				bodies++
			}
			for _, response := range operation.Responses.Map() {
				if len(response.Value.Content) > 0 {
					requireFields(t, where+": response", response.Value.Content)
					responses++
				}
			}
		}
	}
	batch := document.Paths.Find("/" + mount + "/sign/{role}/batch").Post.RequestBody.Value.Content.Get("application/json").Schema.Value
	require.Contains(t, batch.Properties["requests"].Value.Items.Value.Properties, "csr", "records in a record")
	require.Greater(t, bodies, 50)
	require.Greater(t, responses, 80)
}

// openAPIOf returns what the server publishes of one mount.
func openAPIOf(t *testing.T, mount string) *openapi3.T {
	t.Helper()
	a := get(t, rootClient, "sys/internal/specs/openapi?generic_mount_paths=false")
	require.Equal(t, http.StatusOK, a.Status)
	var published map[string]any
	a.decode(t, &published)
	paths := published["paths"].(fields)
	for path := range paths {
		if !strings.HasPrefix(path, "/"+mount+"/") {
			delete(paths, path)
		}
	}
	// Vault's own schemas have defaults of the wrong type; bodies of the mount refer to none.
	delete(published, "components")
	content, err := json.Marshal(published)
	require.NoError(t, err)
	document, err := openapi3.NewLoader().LoadFromData(content)
	require.NoError(t, err)
	return document
}

// requireFields expects a body to say which fields it has, and of what type each is.
func requireFields(t *testing.T, where string, content openapi3.Content) {
	t.Helper()
	body := content.Get("application/json")
	require.NotNil(t, body, where)
	require.NotEmpty(t, body.Schema.Value.Properties, where)
	for name, property := range body.Schema.Value.Properties {
		require.NotEmpty(t, property.Value.Type.Slice(), "%s: %s has no type", where, name)
		require.NotEmpty(t, property.Value.Description, "%s: %s has no description", where, name)
	}
}
