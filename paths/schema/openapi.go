package schema

import (
	"strings"

	"github.com/hashicorp/vault/sdk/framework"
	"github.com/hashicorp/vault/sdk/logical"
)

// inline puts schemas where they are referred to in the OpenAPI document of a help
// response. Vault reads the document of an external plugin without the references
// ("$ref" has no name in its decoder), and would publish every body as an empty schema.
func inline(response *logical.Response) {
	if response == nil {
		return
	}
	document, ok := response.Data["openapi"].(*framework.OASDocument)
	if !ok {
		return
	}
	for _, item := range document.Paths {
		for _, operation := range []*framework.OASOperation{item.Get, item.Post, item.Patch, item.Delete} {
			if operation == nil {
				continue
			}
			if operation.RequestBody != nil {
				inlineContent(document, operation.RequestBody.Content)
			}
			for _, answer := range operation.Responses {
				inlineContent(document, answer.Content)
			}
		}
	}
}

func inlineContent(document *framework.OASDocument, content framework.OASContent) {
	for _, media := range content {
		if media.Schema == nil {
			continue
		}
		name := strings.TrimPrefix(media.Schema.Ref, "#/components/schemas/")
		if schema := document.Components.Schemas[name]; schema != nil {
			media.Schema = schema
		}
	}
}
