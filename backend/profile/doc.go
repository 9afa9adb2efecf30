// Package profile promises that a certificate is only ever what a profile version
// says: a pure function from a request and the current time to a template, or to
// a refusal that names the field and the rule. It knows nothing of who asks (that
// is a role) nor of storage.
//
// A request is completed silently, never violated silently: what it leaves open
// takes the profile's default, what it asks beyond the profile is refused, and
// what the engine cut short is said in a warning.
package profile
