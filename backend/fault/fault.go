// Package fault promises that every refusal of the engine has one kind, and that
// a kind means the same thing everywhere: an HTTP status, an ACME problem type and
// a process exit code, all read from one table.
//
// Rooms return errors made here and wrap them with %w. What a message says is
// meant for the caller: the field and the rule that refused, never a key, a
// request body or a secret.
package fault

import (
	"errors"
	"fmt"
	"strings"
)

// Kind classifies an error by what the caller can do about it.
type Kind uint8

// The kinds of error. Internal is the zero value: an error that nobody
// classified is our fault, not the caller's.
const (
	Internal    Kind = iota // a defect or a broken invariant
	Invalid                 // the request is malformed or violates a stated rule
	Denied                  // the caller may not have this, however well formed
	NotFound                // the named object does not exist
	Conflict                // the object is in a state that forbids the request
	TooLarge                // the input exceeds a cap and was not parsed
	Throttled               // a quota is used up; later may work
	Unavailable             // a token, or state still loading; later may work
	ReadOnly                // this node may not write; the leader can
)

// row says what one kind means at each boundary.
type row struct {
	name string
	http int
	acme string
	exit int
}

var table = map[Kind]row{
	Internal:    {"internal", 500, "serverInternal", 70},
	Invalid:     {"invalid", 400, "malformed", 65},
	Denied:      {"denied", 403, "unauthorized", 77},
	NotFound:    {"not found", 404, "malformed", 66},
	Conflict:    {"conflict", 409, "malformed", 73},
	TooLarge:    {"too large", 400, "malformed", 65},
	Throttled:   {"throttled", 429, "rateLimited", 75},
	Unavailable: {"unavailable", 503, "serverInternal", 69},
	ReadOnly:    {"read only", 503, "serverInternal", 75},
}

// Kinds lists every kind once, for tests that walk the table.
func Kinds() []Kind {
	return []Kind{Internal, Invalid, Denied, NotFound, Conflict, TooLarge, Throttled, Unavailable, ReadOnly}
}

// String returns the name of the kind in lower case.
func (k Kind) String() string { return table[k].name }

// HTTPStatus returns the status code that carries the kind over HTTP.
func (k Kind) HTTPStatus() int { return table[k].http }

// ACMEProblem returns the last part of the RFC 8555 section 6.7 error URN.
func (k Kind) ACMEProblem() string { return table[k].acme }

// ExitCode returns the sysexits(3) code with which a command of ours ends.
func (k Kind) ExitCode() int { return table[k].exit }

// Error is a classified error. Field names the request field that was refused,
// empty when no single field is at fault.
type Error struct {
	Kind  Kind
	Field string
	text  string
	cause error
}

// Error returns "field: text", or the text alone when no field is named.
func (e *Error) Error() string {
	if e.Field == "" {
		return e.text
	}
	return e.Field + ": " + e.text
}

// Unwrap returns the errors that were wrapped with %w in the message.
func (e *Error) Unwrap() error { return e.cause }

// New makes an error of a kind. The format follows fmt.Errorf, %w included.
func New(kind Kind, format string, args ...any) error {
	formatted := fmt.Errorf(format, args...)
	return &Error{Kind: kind, text: formatted.Error(), cause: unwrapOnce(formatted)}
}

// Field makes an Invalid error that names the refused field and the rule.
func Field(field, format string, args ...any) error {
	return FieldOf(Invalid, field, format, args...)
}

// FieldOf makes an error of a kind that names the refused field and the rule. Where the
// wrapped error names the same field, the message names it once.
func FieldOf(kind Kind, field, format string, args ...any) error {
	formatted := fmt.Errorf(format, args...)
	return &Error{Kind: kind, Field: field, text: strings.TrimPrefix(formatted.Error(), field+": "), cause: unwrapOnce(formatted)}
}

// Blame makes a refusal Invalid and says which field of the request it is about. What
// is no refusal stays as it is: nil, Unavailable and Internal.
func Blame(field string, err error) error {
	if err == nil || Is(err, Unavailable) || Is(err, Internal) {
		return err
	}
	return FieldOf(Invalid, field, "%w", err)
}

// unwrapOnce keeps the wrapped chain without keeping the outer text twice.
func unwrapOnce(err error) error {
	switch wrapped := err.(type) {
	case interface{ Unwrap() error }:
		return wrapped.Unwrap()
	case interface{ Unwrap() []error }:
		return errors.Join(wrapped.Unwrap()...)
	}
	return nil
}

// KindOf returns the kind of the outermost classified error in the chain,
// Internal when there is none.
func KindOf(err error) Kind {
	if e, ok := errors.AsType[*Error](err); ok {
		return e.Kind
	}
	return Internal
}

// Is reports whether the outermost classified error in the chain has the kind.
func Is(err error, kind Kind) bool { return err != nil && KindOf(err) == kind }

// FieldOfError returns the field that the outermost classified error names.
func FieldOfError(err error) string {
	if e, ok := errors.AsType[*Error](err); ok {
		return e.Field
	}
	return ""
}

// List joins names for a message: "a, b or c".
func List(names []string) string {
	switch len(names) {
	case 0:
		return "nothing"
	case 1:
		return names[0]
	}
	return strings.Join(names[:len(names)-1], ", ") + " or " + names[len(names)-1]
}
