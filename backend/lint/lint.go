// Package lint promises that what is about to be signed obeys the RFCs and our own
// rules: checks on a drafted certificate or CRL, one file per rule of ours with
// its citation. Pure.
package lint

import "crypto/x509"

// Severity orders findings.
type Severity uint8

// The severities.
const (
	Notice Severity = iota
	Warning
	Error
	Fatal
)

// Finding is one rule that a certificate violates.
type Finding struct {
	Rule     string   `json:"rule"`
	Severity Severity `json:"-"`
	Level    string   `json:"severity"`
	Citation string   `json:"citation"`
	Detail   string   `json:"detail"`
}

// Policy says which rules run and what they block.
type Policy struct {
	Sets   []string          // "rfc5280", "rfc3279", "rfc5480", "rfc8813", "cabf_br", ...; nil: the RFC sets
	FailAt Severity          // findings of this severity and above refuse; zero value Notice means Error
	Ignore map[string]string // rule -> reason
}

// Certificate runs the rules over a drafted certificate and returns the findings,
// worst first.
func Certificate(drafted, issuer *x509.Certificate, policy Policy) ([]Finding, error) {
	panic("not written")
}

// Refuse returns the error for findings that the policy does not tolerate, or nil.
func Refuse(findings []Finding, policy Policy) error { panic("not written") }
