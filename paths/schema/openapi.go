package schema

import (
	"fmt"
	"reflect"
	"strconv"
	"strings"

	"github.com/hashicorp/vault/sdk/framework"
	"github.com/hashicorp/vault/sdk/logical"
)

// handler is the framework's operation, and ours for the OpenAPI document.
type handler struct {
	*framework.PathOperation
	operation *Operation
}

// inline completes the OpenAPI document of a help response. It puts schemas where they
// are referred to: Vault reads the document of an external plugin without the references
// ("$ref" has no name in its decoder), and would publish every body as an empty schema.
// It adds what the framework has no words for: the fields of nested records.
func inline(response *logical.Response, paths []*framework.Path) {
	if response == nil {
		return
	}
	document, ok := response.Data["openapi"].(*framework.OASDocument)
	if !ok {
		return
	}
	d := description{document: document, fields: map[string]*field{}}
	for _, path := range paths {
		for _, each := range path.Operations {
			if ours, ok := each.(handler); ok {
				d.add(ours.operation.input)
				d.add(ours.operation.output)
			}
		}
	}
	for _, item := range document.Paths {
		for _, operation := range []*framework.OASOperation{item.Get, item.Post, item.Patch, item.Delete} {
			if operation == nil {
				continue
			}
			if operation.RequestBody != nil {
				d.inline(operation.RequestBody.Content, false)
			}
			for _, answer := range operation.Responses {
				d.inline(answer.Content, true)
			}
		}
	}
}

// description is a document while it is completed. Its fields are found by what the
// document has of them: name and description.
type description struct {
	document *framework.OASDocument
	fields   map[string]*field
}

func (d *description) add(p *plan) {
	if p == nil {
		return
	}
	for i := range p.fields {
		f := &p.fields[i]
		d.fields[f.name+"\n"+f.description()] = f
	}
}

func (d *description) inline(content framework.OASContent, answer bool) {
	for _, media := range content {
		if media.Schema == nil {
			continue
		}
		name := strings.TrimPrefix(media.Schema.Ref, "#/components/schemas/")
		if schema := d.document.Components.Schemas[name]; schema != nil {
			media.Schema = d.complete(schema, answer)
		}
	}
}

// complete returns the schema of a body with what its fields hold.
func (d *description) complete(body *framework.OASSchema, answer bool) *framework.OASSchema {
	completed := *body
	completed.Properties = make(map[string]*framework.OASSchema, len(body.Properties))
	for name, property := range body.Properties {
		own := *property
		f := d.fields[name+"\n"+property.Description]
		switch {
		case f == nil:
		case f.shape == seconds && answer:
			own.Type, own.Format = "integer", "int64" // a request may also have "720h"
		case f.shape == seconds && own.Default != nil:
			own.Default = fmt.Sprintf("%vs", own.Default)
		case f.shape == list && len(own.Enum) > 0: // the framework says it of the list
			items := *own.Items
			items.Enum, own.Enum, own.Items = own.Enum, nil, &items
		case f.shape == whole && len(own.Enum) > 0: // the framework has texts
			own.Enum = integers(f.enum)
		case f.sub != nil || f.shape == anything:
			nested := schemaOf(f.typ)
			own.Type, own.Properties, own.Items, own.AdditionalProperties = nested.Type, nested.Properties, nested.Items, nested.AdditionalProperties
		}
		completed.Properties[name] = &own
	}
	return &completed
}

func integers(texts []string) []any {
	numbers := make([]any, len(texts))
	for i, text := range texts {
		numbers[i], _ = strconv.ParseInt(text, 10, 64) // checked when the plan was made
	}
	return numbers
}

// schemaOf returns the schema of a type in a request or an answer.
func schemaOf(typ reflect.Type) *framework.OASSchema {
	switch typ = bare(typ); typ.Kind() {
	case reflect.Struct:
		schema := &framework.OASSchema{Type: "object", Properties: map[string]*framework.OASSchema{}}
		p := planFor(typ)
		for i := range p.fields {
			if p.fields[i].form == "secret" {
				continue
			}
			property := schemaOf(p.fields[i].typ)
			property.Description = p.fields[i].description()
			schema.Properties[p.fields[i].name] = property
		}
		return schema
	case reflect.Slice:
		return &framework.OASSchema{Type: "array", Items: schemaOf(typ.Elem())}
	case reflect.Map:
		return &framework.OASSchema{Type: "object", AdditionalProperties: schemaOf(typ.Elem())}
	case reflect.Bool:
		return &framework.OASSchema{Type: "boolean"}
	case reflect.Int, reflect.Int64, reflect.Uint64:
		return &framework.OASSchema{Type: "integer", Format: "int64"}
	case reflect.Float64:
		return &framework.OASSchema{Type: "number"}
	case reflect.String:
		return &framework.OASSchema{Type: "string"}
	}
	return &framework.OASSchema{}
}
