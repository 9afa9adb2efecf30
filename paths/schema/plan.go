// Package schema promises that a field is declared once: from one tagged struct
// come the request schema, the response schema, decoding, patching, encoding and
// documentation, and nothing that the struct does not name is ever accepted.
//
// It is also the one place where a typed handler meets Vault: it recovers panics,
// decodes strictly and flattens every error to the one thing that crosses the
// plugin boundary.
//
// A field's tags:
//
//	json:"name"          the name in requests and answers; ",omitempty" leaves an empty value out of answers
//	doc:"One sentence."  shown by path-help, OpenAPI and the reference
//	kind:"..."           one of the kinds in forms; see there
//	default:"text"       the value when the field is not given
//	enum:"a|b|c"         the only values
//	required:"true"      the field must be given and not empty
//	in:"path"            the value is captured from the path
//	alias:"old_name"     another name under which it is accepted
//	max:"n"              the most bytes of a text, or the largest number
//	min:"n"              the smallest number; durations start at 0 without it
//	items:"n"            the most elements of a list or map
//	blank:"refuse"       a list takes no empty element; without it, one means nothing
//	blank:"null"         an answer shows null where the pointer is nil; without it, nothing
package schema

import (
	"fmt"
	"math"
	"reflect"
	"strconv"
	"strings"
)

// The caps that hold when a tag does not say otherwise. They are checked before
// anything is parsed (dos-1).
const (
	maxText  = 64 << 10 // bytes of one text
	maxItems = 1000     // elements of one list or map
	maxBody  = 1 << 20  // bytes of all values of a request
)

// shape is how a value looks on the wire.
type shape uint8

const (
	text        shape = iota // string
	flag                     // bool
	whole                    // int, int64
	seconds                  // int64, accepts "720h"; read back as seconds
	secondsText              // string holding a duration, read back as written
	list                     // []string
	pairs                    // map[string]string
	record                   // struct
	records                  // []struct
	anything                 // any other type: in answers only
)

// forms lists the values of the kind tag.
var forms = map[string]bool{
	"":                true,
	"duration":        true, // seconds; accepts "720h", "30d", "10y" and numbers
	"duration-string": true, // a text holding a duration
	"duration-fine":   true, // the same, fractions of a second allowed
	"secret":          true, // write-only: never in an answer
	"path":            true, // same as in:"path"
	"name":            true, // a canonical name; see CheckName
	"ref":             true, // the id or name of something; checked like a name
	"csv":             true, // a text that may come as a list as well
	"pem":             true, // documentation only
}

// field is one field of a plan.
type field struct {
	labels
	traits
	limits
	shape   shape
	index   []int
	typ     reflect.Type  // without the pointer
	initial reflect.Value // of typ; invalid without a default
	sub     *plan         // of a record's type
}

// labels are a field's words.
type labels struct {
	name     string
	alias    string
	doc      string
	form     string
	initText string // the default as its tag has it
}

// traits are a field's yes-or-no properties.
type traits struct {
	pointer  bool
	captured bool
	required bool
	omit     bool
	null     bool // answers show null for a nil pointer
}

// limits bound what a field accepts.
type limits struct {
	enum     []string
	maxText  int // bytes
	maxItems int
	noBlank  bool // a list refuses empty elements
	low      int64
	high     int64
}

// plan is everything the tags of one struct type say.
type plan struct {
	typ    reflect.Type
	fields []field
	names  map[string]int // by name and alias
}

// planOf reads the tags of T. Wrong tags are a programming error, found by any
// test that makes a backend, and so panic.
func planOf[T any]() *plan { return planFor(reflect.TypeFor[T]()) }

func planFor(typ reflect.Type) *plan {
	if typ.Kind() == reflect.Pointer {
		typ = typ.Elem()
	}
	if typ.Kind() != reflect.Struct {
		panic(fmt.Sprintf("schema: %s is not a struct", typ))
	}
	p := &plan{typ: typ, names: map[string]int{}}
	p.collect(typ, nil)
	if len(p.fields) > givenBits {
		panic(fmt.Sprintf("schema: %s has more than %d fields", typ, givenBits))
	}
	return p
}

// collect adds the fields of typ; embedded structs are flattened.
func (p *plan) collect(typ reflect.Type, base []int) {
	for i := range typ.NumField() {
		member := typ.Field(i)
		index := append(append([]int{}, base...), i)
		if member.Anonymous && member.Tag.Get("json") == "" {
			p.collect(member.Type, index)
			continue
		}
		if !member.IsExported() || member.Tag.Get("json") == "-" {
			continue
		}
		f := newField(typ, member, index)
		p.fields = append(p.fields, f)
		for _, name := range []string{f.name, f.alias} {
			if name == "" {
				continue
			}
			if _, taken := p.names[name]; taken {
				panic(fmt.Sprintf("schema: %s declares %s twice", p.typ, name))
			}
			p.names[name] = len(p.fields) - 1
		}
	}
}

func newField(owner reflect.Type, member reflect.StructField, index []int) field {
	name, options, _ := strings.Cut(member.Tag.Get("json"), ",")
	if name == "" {
		panic(fmt.Sprintf("schema: %s.%s has no json name", owner, member.Name))
	}
	f := field{
		labels: labels{
			name:  name,
			alias: member.Tag.Get("alias"),
			doc:   member.Tag.Get("doc"),
			form:  member.Tag.Get("kind"),
		},
		traits: traits{
			captured: member.Tag.Get("in") == "path" || member.Tag.Get("kind") == "path",
			required: member.Tag.Get("required") == "true",
			omit:     strings.Contains(options, "omitempty"),
			null:     member.Tag.Get("blank") == "null",
		},
		index: index,
		typ:   member.Type,
	}
	if !forms[f.form] {
		panic(fmt.Sprintf("schema: %s.%s has the unknown kind %q", owner, member.Name, f.form))
	}
	if f.typ.Kind() == reflect.Pointer {
		f.typ, f.pointer = f.typ.Elem(), true
	}
	f.shape = shapeOf(f.typ, f.form)
	if f.shape == record || f.shape == records {
		f.sub = planFor(element(f.typ))
	}
	f.limits = f.readLimits(member.Tag)
	if values := member.Tag.Get("enum"); values != "" {
		f.enum = strings.Split(values, "|")
	}
	if initial, ok := member.Tag.Lookup("default"); ok && initial != "" {
		f.setDefault(owner, initial)
	}
	return f
}

func element(typ reflect.Type) reflect.Type {
	if typ.Kind() == reflect.Slice {
		return typ.Elem()
	}
	return typ
}

func shapeOf(typ reflect.Type, form string) shape {
	switch {
	case form == "duration" && (typ.Kind() == reflect.Int64 || typ.Kind() == reflect.Int):
		return seconds
	case (form == "duration-string" || form == "duration-fine") && typ.Kind() == reflect.String:
		return secondsText
	}
	switch typ.Kind() {
	case reflect.String:
		return text
	case reflect.Bool:
		return flag
	case reflect.Int, reflect.Int64:
		return whole
	case reflect.Struct:
		return record
	case reflect.Slice:
		if typ.Elem().Kind() == reflect.String {
			return list
		}
		if typ.Elem().Kind() == reflect.Struct {
			return records
		}
	case reflect.Map:
		if typ.Key().Kind() == reflect.String && typ.Elem().Kind() == reflect.String {
			return pairs
		}
	}
	return anything
}

func (f *field) readLimits(tag reflect.StructTag) limits {
	number := func(name string, otherwise int64) int64 {
		value := tag.Get(name)
		if value == "" {
			return otherwise
		}
		n, err := strconv.ParseInt(value, 10, 64)
		if err != nil {
			panic(fmt.Sprintf("schema: tag %s of field %s: %v", name, f.name, err))
		}
		return n
	}
	bounds := limits{
		maxText:  maxText,
		maxItems: int(number("items", maxItems)),
		noBlank:  tag.Get("blank") == "refuse",
		low:      math.MinInt64,
		high:     math.MaxInt64,
	}
	switch f.shape {
	case seconds, secondsText:
		bounds.low = number("min", 0)
		bounds.high = number("max", math.MaxInt64/int64(1e9))
	case whole:
		bounds.low = number("min", math.MinInt64)
		bounds.high = number("max", math.MaxInt64)
	default:
		bounds.maxText = int(number("max", maxText))
	}
	return bounds
}

func (f *field) setDefault(owner reflect.Type, initial string) {
	value := reflect.New(f.typ).Elem()
	if err := f.convert(value, initial, f.name); err != nil {
		panic(fmt.Sprintf("schema: default of %s.%s: %v", owner, f.name, err))
	}
	f.initial, f.initText = value, initial
}

// mustDecode panics when the struct has a field that no request can carry.
func (p *plan) mustDecode() *plan {
	for i := range p.fields {
		if p.fields[i].shape == anything {
			panic(fmt.Sprintf("schema: %s.%s: type %s cannot be in a request", p.typ, p.fields[i].name, p.fields[i].typ))
		}
		if p.fields[i].sub != nil {
			p.fields[i].sub.mustDecode()
		}
	}
	return p
}
