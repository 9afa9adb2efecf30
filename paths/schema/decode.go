package schema

import (
	"encoding/json"
	"maps"
	"reflect"
	"slices"
	"strings"

	"vault-plugin-secrets-enterprise-pki/backend/fault"
)

// givenBits is the most fields that a struct may have.
const givenBits = 192

// Given says which fields a request gave. A field that was given with its default
// or empty value counts as given.
type Given struct {
	plan *plan
	bits [givenBits / 64]uint64
}

func (g *Given) add(i int) { g.bits[i/64] |= 1 << (i % 64) }

func (g *Given) at(i int) bool { return g.bits[i/64]&(1<<(i%64)) != 0 }

// Has reports whether the field was given, under its name or its alias.
func (g Given) Has(name string) bool {
	if g.plan == nil {
		return false
	}
	i, known := g.plan.names[name]
	return known && g.at(i)
}

// Names lists the given fields in the order of their declaration.
func (g Given) Names() []string {
	var names []string
	for i := range g.plan.fieldsOrNone() {
		if g.at(i) {
			names = append(names, g.plan.fields[i].name)
		}
	}
	return names
}

func (p *plan) fieldsOrNone() []field {
	if p == nil {
		return nil
	}
	return p.fields
}

// Decode makes a T with its defaults and sets what data gives. A null gives nothing.
// Unknown fields, wrong types and broken limits are refused with the name of the field.
func Decode[T any](data map[string]any) (T, Given, error) {
	var value T
	given, err := planOf[T]().mustDecode().decode(reflect.ValueOf(&value).Elem(), source{data: data})
	return value, given, err
}

// Change returns what a PATCH, or a write that keeps what it does not name, does to the
// record that is stored: it replaces those fields by in's that were given. It is a
// function, and there is no other way to merge, because only the room that keeps the
// record can read, change and write it under one lock (race-1): hand it to a method
// that begins with Amend.
func Change[T any](in T, given Given) func(stored *T) error {
	return func(stored *T) error {
		p := planOf[T]()
		from, to := reflect.ValueOf(&in).Elem(), reflect.ValueOf(stored).Elem()
		for i := range p.fields {
			if f := &p.fields[i]; given.Has(f.name) {
				to.FieldByIndex(f.index).Set(from.FieldByIndex(f.index))
			}
		}
		return nil
	}
}

// source is where decode takes values from.
type source struct {
	data     map[string]any // the body
	captured map[string]any // what the path captured
	prefix   string         // stands before the names of fields in messages
	changes  bool           // the request changes what is stored: a null would remove it
}

// decode sets dst from a source. The refusal does not depend on the order in which a
// map is walked.
func (p *plan) decode(dst reflect.Value, from source) (Given, error) {
	given := Given{plan: p}
	for i := range p.fields {
		if f := &p.fields[i]; f.initial.IsValid() {
			f.store(dst, cloned(f.initial))
		}
	}
	for _, name := range slices.Sorted(maps.Keys(from.data)) {
		if err := p.take(dst, &given, name, from); err != nil {
			return given, err
		}
	}
	for i := range p.fields {
		f := &p.fields[i]
		if value, _ := from.captured[f.name].(string); f.captured && value != "" {
			if err := f.set(dst, value, from.prefix+f.name); err != nil {
				return given, err
			}
			given.add(i)
		}
		if f.required && (!given.at(i) || f.value(dst).IsZero()) {
			return given, fault.Field(from.prefix+f.name, "is required")
		}
	}
	return given, nil
}

// take sets the one field that data names.
func (p *plan) take(dst reflect.Value, given *Given, name string, from source) error {
	raw, prefix := from.data[name], from.prefix
	i, known := p.names[name]
	if !known {
		return p.unknown(prefix, name)
	}
	f := &p.fields[i]
	if raw == nil {
		// Clients of other people send null for what they do not give. In a PATCH it asks to
		// remove a value (RFC 7396), which could lift a restriction (null-1).
		if from.changes {
			return fault.Field(prefix+name, "must not be null in a PATCH; leave it out to keep it, or give the value that shall hold")
		}
		return nil
	}
	if f.captured {
		// Clients repeat the path's name in the body. Another name there would make
		// one request speak of two things (authz-2).
		if raw != from.captured[f.name] {
			return fault.Field(prefix+name, "is part of the path; the request must not name another")
		}
		return nil
	}
	if given.at(i) {
		return fault.Field(prefix+f.name, "was given twice, the second time as %s", f.alias)
	}
	given.add(i)
	return f.set(dst, raw, prefix+name)
}

// set converts raw into the field of the struct dst.
func (f *field) set(dst reflect.Value, raw any, name string) error {
	value := reflect.New(f.typ).Elem()
	if err := f.convert(value, raw, name); err != nil {
		return err
	}
	f.store(dst, value)
	return nil
}

// store puts a value of the field's type without pointer into the struct dst.
func (f *field) store(dst, value reflect.Value) {
	target := dst.FieldByIndex(f.index)
	if f.pointer {
		target.Set(reflect.New(f.typ))
		target = target.Elem()
	}
	target.Set(value)
}

// value returns the field of the struct src as it is declared.
func (f *field) value(src reflect.Value) reflect.Value { return src.FieldByIndex(f.index) }

// cloned copies a default so that two requests never share a list.
func cloned(value reflect.Value) reflect.Value {
	switch value.Kind() {
	case reflect.Slice:
		return reflect.AppendSlice(reflect.MakeSlice(value.Type(), 0, value.Len()), value)
	case reflect.Map:
		fresh := reflect.MakeMap(value.Type())
		for _, key := range value.MapKeys() {
			fresh.SetMapIndex(key, value.MapIndex(key))
		}
		return fresh
	}
	return value
}

// otherNames are what people call fields whose names are spelled too differently to be
// found by Nearest.
var otherNames = map[string][]string{
	"cn": {"common_name"}, "san": {"alt_names"}, "sans": {"alt_names"}, "serial": {"serial_number"},
	"slot": {"token_label", "token_serial"}, "password": {"pin"}, "lib": {"module"}, "library": {"module"},
}

// unknown refuses a field and names the nearest one: a misspelled restriction must
// not disappear (fields-1).
func (p *plan) unknown(prefix, name string) error {
	if len(name) > 64 {
		name = name[:64] + "..."
	}
	if known := otherNames[name]; len(known) > 0 && !slices.ContainsFunc(known, func(n string) bool { _, has := p.names[n]; return !has }) {
		return fault.Field(prefix+name, "is not a known field; did you mean %s?", fault.List(known))
	}
	if best := fault.Nearest(name, slices.Collect(maps.Keys(p.names))); best != "" {
		return fault.Field(prefix+name, "is not a known field; did you mean %s?", best)
	}
	return fault.Field(prefix+name, "is not a known field")
}

// checkSize refuses a request whose values hold more than limit bytes. It only
// adds up lengths.
func checkSize(data map[string]any, limit int) error {
	if size := sizeOf(data, limit); size > limit {
		return fault.New(fault.TooLarge, "the request's values exceed the %d bytes that this path takes", limit)
	}
	return nil
}

// sizeOf adds up the bytes of names and texts, and stops soon after the limit.
func sizeOf(raw any, limit int) int {
	size := 1
	switch value := raw.(type) {
	case string:
		return len(value)
	case json.Number:
		return len(value)
	case []any:
		for _, element := range value {
			if size += sizeOf(element, limit-size); size > limit {
				return size
			}
		}
	case map[string]any:
		for key, element := range value {
			if size += len(key) + sizeOf(element, limit-size-len(key)); size > limit {
				return size
			}
		}
	case []string:
		return len(strings.Join(value, ","))
	}
	return size
}
