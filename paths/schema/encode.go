package schema

import (
	"fmt"
	"reflect"
)

// Encode returns what an answer holds: every field under its name, defaults and
// empty lists included, so that a client that compares sees no drift. Secrets and
// nil pointers are left out, unless their blank tag says null, and empty values whose
// json tag says omitempty.
func Encode[T any](value T) map[string]any {
	return planOf[T]().encode(reflect.Indirect(reflect.ValueOf(&value).Elem()))
}

func (p *plan) encode(src reflect.Value) map[string]any {
	data := make(map[string]any, len(p.fields))
	for i := range p.fields {
		f := &p.fields[i]
		value := f.value(src)
		if f.form == "secret" || f.omit && empty(value) {
			continue
		}
		if f.pointer {
			if value.IsNil() && f.null {
				data[f.name] = nil
			}
			if value.IsNil() {
				continue
			}
			value = value.Elem()
		}
		data[f.name] = f.wire(value)
	}
	return data
}

func empty(value reflect.Value) bool {
	switch value.Kind() {
	case reflect.Slice, reflect.Map:
		return value.Len() == 0
	}
	return value.IsZero()
}

// wire returns a field's value as JSON will carry it.
func (f *field) wire(value reflect.Value) any {
	switch f.shape {
	case text, secondsText:
		return value.String()
	case flag:
		return value.Bool()
	case whole, seconds:
		return value.Int()
	case list:
		if value.Len() == 0 {
			return []string{}
		}
		return value.Convert(reflect.TypeFor[[]string]()).Interface()
	case record:
		return f.sub.encode(value)
	case records:
		rows := make([]any, value.Len())
		for i := range rows {
			rows[i] = f.sub.encode(value.Index(i))
		}
		return rows
	}
	return wire(value)
}

// wire encodes the types that only answers hold: maps and lists of anything.
func wire(value reflect.Value) any {
	switch value.Kind() {
	case reflect.Pointer:
		if value.IsNil() {
			return nil
		}
		return wire(value.Elem())
	case reflect.Struct:
		return planFor(value.Type()).encode(value)
	case reflect.Map:
		return wireMap(value)
	case reflect.Slice:
		rows := make([]any, value.Len())
		for i := range rows {
			rows[i] = wire(value.Index(i))
		}
		return rows
	case reflect.String, reflect.Bool, reflect.Int, reflect.Int64, reflect.Float64, reflect.Uint64:
		return value.Interface()
	case reflect.Interface:
		return value.Interface()
	}
	panic(fmt.Sprintf("schema: type %s cannot be in an answer", value.Type()))
}

func wireMap(value reflect.Value) any {
	data := make(map[string]any, value.Len())
	var p *plan
	if value.Type().Elem().Kind() == reflect.Struct {
		p = planFor(value.Type().Elem())
	}
	for rows := value.MapRange(); rows.Next(); {
		if p != nil {
			data[rows.Key().String()] = p.encode(rows.Value())
			continue
		}
		data[rows.Key().String()] = wire(rows.Value())
	}
	return data
}
