package schema

import (
	"fmt"
	"net/http"
	"strings"

	"github.com/hashicorp/vault/sdk/framework"

	"vault-plugin-secrets-enterprise-pki/backend/fault"
)

// Fields returns the request schema of T for path-help and OpenAPI.
func Fields[T any]() map[string]*framework.FieldSchema { return planOf[T]().describe() }

// Response returns the answer schema of T for OpenAPI.
func Response[T any]() map[int][]framework.Response {
	return map[int][]framework.Response{
		http.StatusOK: {{Description: "OK", Fields: planOf[T]().answers()}},
	}
}

// describe returns the schema of every field, aliases as deprecated fields.
func (p *plan) describe() map[string]*framework.FieldSchema {
	schemas := make(map[string]*framework.FieldSchema, len(p.fields))
	for i := range p.fields {
		f := &p.fields[i]
		schemas[f.name] = f.describe()
		if f.alias != "" {
			old := f.describe()
			old.Deprecated = true
			old.Description = "Another name of " + f.name + "."
			schemas[f.alias] = old
		}
	}
	return schemas
}

// answers is describe without what no answer holds.
func (p *plan) answers() map[string]*framework.FieldSchema {
	schemas := p.describe()
	for i := range p.fields {
		if p.fields[i].form == "secret" {
			delete(schemas, p.fields[i].name)
		}
		delete(schemas, p.fields[i].alias)
	}
	return schemas
}

func (f *field) describe() *framework.FieldSchema {
	described := &framework.FieldSchema{
		Type:        f.wireType(),
		Description: f.description(),
		Required:    f.required,
	}
	if f.initial.IsValid() {
		described.Default = f.wire(f.initial)
	}
	for _, value := range f.enum {
		described.AllowedValues = append(described.AllowedValues, value)
	}
	if f.form == "secret" {
		described.DisplayAttrs = &framework.DisplayAttributes{Sensitive: true}
	}
	return described
}

func (f *field) wireType() framework.FieldType {
	switch f.shape {
	case flag:
		return framework.TypeBool
	case whole:
		return framework.TypeInt64
	case seconds:
		return framework.TypeDurationSecond
	case list:
		return framework.TypeCommaStringSlice
	case pairs:
		return framework.TypeKVPairs
	case record, anything:
		return framework.TypeMap
	case records:
		return framework.TypeSlice
	}
	return framework.TypeString
}

// description is the field's sentence followed by the rules its tags state, so
// that path-help shows them and they cannot drift.
func (f *field) description() string {
	var b strings.Builder
	b.WriteString(strings.TrimSpace(f.doc))
	if f.doc == "" {
		return ""
	}
	if len(f.enum) > 0 {
		fmt.Fprintf(&b, " One of %s.", fault.List(f.enum))
	}
	if f.initText != "" {
		fmt.Fprintf(&b, " Default: %s.", f.initText)
	}
	if f.required && !f.captured {
		b.WriteString(" Required.")
	}
	if f.form == "secret" {
		b.WriteString(" Write-only.")
	}
	return b.String()
}
