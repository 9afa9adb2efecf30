// Package publicsuffix promises the part of publicsuffix-go that zcrypto uses, without
// a list and without net/http: the suffix of a name is its last label.
package publicsuffix

import (
	"errors"
	"strings"
)

// DomainName is a name split at its public suffix: TRD.SLD.TLD.
type DomainName struct {
	TLD  string // public suffix
	SLD  string // label left of it
	TRD  string // everything further left
	Rule *Rule
}

// Rule is a rule of a list. Only DefaultRule exists here.
type Rule struct{}

// List is a list of rules. Only DefaultList exists here.
type List struct{}

// FindOptions say how a rule is found; here they change nothing.
type FindOptions struct {
	IgnorePrivate bool
	DefaultRule   *Rule
}

// DefaultList and DefaultRule are the only list and rule.
var (
	DefaultList = &List{}
	DefaultRule = &Rule{}
)

// ParseFromListWithOptions splits a name at its last label.
func ParseFromListWithOptions(_ *List, name string, _ *FindOptions) (*DomainName, error) {
	labels := strings.Split(strings.ToLower(name), ".")
	n := len(labels)
	if n < 2 || labels[0] == "" || labels[n-1] == "" {
		return nil, errors.New("publicsuffix: " + name + " is not below a suffix")
	}
	return &DomainName{TLD: labels[n-1], SLD: labels[n-2], TRD: strings.Join(labels[:n-2], "."), Rule: DefaultRule}, nil
}
