package schema

import (
	"context"
	"fmt"
	"net/http"
	"reflect"
	"slices"

	"github.com/hashicorp/vault/sdk/framework"
	"github.com/hashicorp/vault/sdk/logical"
)

// Handler answers one operation: In is decoded from the request, Out becomes the
// answer. Out is a struct, a pointer to one (nil on a read is "not found"), None
// or Raw. Errors are of package fault; the wrapper flattens them.
type Handler[In, Out any] func(ctx context.Context, call *Call, in In) (Out, error)

// None is an input without fields, and an answer without content.
type None struct{}

// Raw is an answer that is not JSON. Vault takes the body only as bytes: a string
// that happened to be base64 would be decoded on its way.
type Raw struct {
	Status       int // 0: 200
	ContentType  string
	CacheControl string
	Body         []byte
}

// Call is the request around the input: who asks and from where. Its Request has no
// Data; what the request said is in the input alone.
type Call struct {
	Request *logical.Request
	Given   Given

	warnings []string
	edits    []func(*logical.Response)
}

// Warn adds a warning to the answer.
func (c *Call) Warn(format string, args ...any) {
	c.warnings = append(c.warnings, fmt.Sprintf(format, args...))
}

// Edit changes the answer after it is encoded: leases, headers, response wrapping.
func (c *Call) Edit(edit func(*logical.Response)) { c.edits = append(c.edits, edit) }

// Operation is one thing that can be done at a path.
type Operation struct {
	verb    logical.Operation
	summary string
	input   *plan
	output  *plan // nil for None and Raw
	limit   int
	serve   func(ctx context.Context, o *Operation, req *logical.Request, captured map[string]any) (*logical.Response, error)
}

// Read is GET. It must not change anything, here or elsewhere.
func Read[In, Out any](summary string, handler Handler[In, Out]) Operation {
	return operation(logical.ReadOperation, summary, handler)
}

// List is LIST; Out has a field "keys".
func List[In, Out any](summary string, handler Handler[In, Out]) Operation {
	return operation(logical.ListOperation, summary, handler)
}

// Write is POST and PUT. There is no create operation: telling create from update
// would cost a storage read before each write.
func Write[In, Out any](summary string, handler Handler[In, Out]) Operation {
	return operation(logical.UpdateOperation, summary, handler)
}

// Patch is PATCH: the handler merges the given fields into what is there.
func Patch[In, Out any](summary string, handler Handler[In, Out]) Operation {
	return operation(logical.PatchOperation, summary, handler)
}

// Delete is DELETE.
func Delete[In, Out any](summary string, handler Handler[In, Out]) Operation {
	return operation(logical.DeleteOperation, summary, handler)
}

// Limit sets the most bytes that the values of the request may hold together.
func (o Operation) Limit(bytes int) Operation {
	o.limit = bytes
	return o
}

func operation[In, Out any](verb logical.Operation, summary string, handler Handler[In, Out]) Operation {
	o := Operation{verb: verb, summary: summary, input: planOf[In]().mustDecode(), limit: maxBody}
	if answer := bare(reflect.TypeFor[Out]()); answer != reflect.TypeFor[None]() && answer != reflect.TypeFor[Raw]() {
		o.output = planFor(answer)
	}
	o.serve = func(ctx context.Context, o *Operation, req *logical.Request, captured map[string]any) (*logical.Response, error) {
		var in In
		data := bodyOf(ctx, req)
		if err := checkSize(data, o.limit); err != nil {
			return nil, err
		}
		given, err := o.input.decode(reflect.ValueOf(&in).Elem(), source{data: data, captured: captured, changes: o.verb == logical.PatchOperation})
		if err != nil {
			return nil, err
		}
		call := &Call{Request: req, Given: given}
		out, err := handler(ctx, call, in)
		if err != nil {
			return nil, err
		}
		return call.answer(o, out), nil
	}
	return o
}

func bare(typ reflect.Type) reflect.Type {
	if typ.Kind() == reflect.Pointer {
		return typ.Elem()
	}
	return typ
}

// answer makes the response of what a handler returned.
func (c *Call) answer(o *Operation, out any) *logical.Response {
	var response *logical.Response
	value := reflect.ValueOf(out)
	if value.Kind() == reflect.Pointer {
		if value.IsNil() {
			return nil
		}
		value = value.Elem()
	}
	switch body := value.Interface().(type) {
	case None:
		if len(c.warnings)+len(c.edits) == 0 {
			return nil
		}
		response = &logical.Response{}
	case Raw:
		response = body.response()
	default:
		response = &logical.Response{Data: o.output.encode(value)}
	}
	response.Warnings = c.warnings
	for _, edit := range c.edits {
		edit(response)
	}
	return response
}

func (r Raw) response() *logical.Response {
	if r.Status == 0 {
		r.Status = http.StatusOK
	}
	response := &logical.Response{Data: map[string]any{
		logical.HTTPStatusCode:  r.Status,
		logical.HTTPContentType: r.ContentType,
		logical.HTTPRawBody:     slices.Clip(append([]byte{}, r.Body...)),
	}}
	if r.CacheControl != "" {
		response.Data[logical.HTTPCacheControlHeader] = r.CacheControl
	}
	return response
}

// Path makes the framework's path for a pattern: a table of operations. The
// synopsis is one sentence, the description says what happens and where the rules
// come from. The framework gets no existence check, because each one would be a
// call before the access check on every write.
func Path(pattern, synopsis, description string, operations ...Operation) *framework.Path {
	path := &framework.Path{
		Pattern:         pattern,
		HelpSynopsis:    synopsis,
		HelpDescription: description,
		Fields:          map[string]*framework.FieldSchema{},
		Operations:      map[logical.Operation]framework.OperationHandler{},
		DisplayAttrs:    &framework.DisplayAttributes{OperationPrefix: "pki"},
	}
	for i := range operations {
		o := &operations[i]
		if _, taken := path.Operations[o.verb]; taken {
			panic(fmt.Sprintf("schema: %s has two operations for %s", pattern, o.verb))
		}
		writes := o.verb != logical.ReadOperation && o.verb != logical.ListOperation
		properties := &framework.PathOperation{
			Callback: o.callback,
			Summary:  o.summary,
			// A standby that runs handlers would act before its first write is refused.
			ForwardPerformanceStandby:   writes,
			ForwardPerformanceSecondary: writes,
		}
		if o.output != nil {
			properties.Responses = map[int][]framework.Response{
				http.StatusOK: {{Description: "OK", Fields: o.output.answers()}},
			}
		}
		path.Operations[o.verb] = handler{properties, o}
		o.addFields(path.Fields)
	}
	return path
}

// addFields adds the operation's input fields to those of its path.
func (o *Operation) addFields(fields map[string]*framework.FieldSchema) {
	query := o.verb == logical.ReadOperation || o.verb == logical.ListOperation || o.verb == logical.DeleteOperation
	for name, described := range o.input.describe() {
		if earlier, ok := fields[name]; ok {
			earlier.Query = earlier.Query || query && !o.input.captures(name)
			continue
		}
		described.Query = query && !o.input.captures(name)
		fields[name] = described
	}
}

func (p *plan) captures(name string) bool { return p.fields[p.names[name]].captured }

// callback is the operation as the framework calls it.
func (o *Operation) callback(ctx context.Context, req *logical.Request, data *framework.FieldData) (*logical.Response, error) {
	response, err := o.serve(ctx, o, req, data.Raw)
	if err != nil {
		return flatten(ctx, req, err)
	}
	return response, nil
}
