// Package hsm promises PKCS#11 tokens that can be lost and come back: opened once
// per process however many mounts use them, chosen by label or serial number,
// bounded in sessions, never waited for without a deadline, never logged in to
// again after a wrong PIN, and keys found by CKA_ID and compared with the public
// key that is on record.
//
// A library that hangs cannot be interrupted. Every call runs beside its caller;
// one that overstays its deadline opens the circuit: all tokens of that library are
// Unavailable until the call comes back. A token that was lost is opened again by
// the next use, at most every two seconds, after every connection of this process
// to that library has been closed.
//
// The package has two builds. Without cgo it compiles and Open says what to do.
package hsm

import (
	"errors"
	"fmt"
	"strings"
	"time"

	"vault-plugin-secrets-enterprise-pki/backend/fault"
)

// DefaultMaxSessions and DefaultTimeout hold for a Config that leaves them 0.
const (
	DefaultMaxSessions = 8
	DefaultTimeout     = 10 * time.Second
)

// fewestSessions is what one token needs: one that keeps the login, one for raw
// calls and two of crypto11, which holds one of its own.
const fewestSessions = 4

// ErrWrongPIN is in the chain of the Denied error for a PIN that the token has
// refused; the PIN is latched, so the token will not see it again.
var ErrWrongPIN = errors.New("the token refused the PIN")

// Config names one token. Exactly one of TokenLabel and TokenSerial is set.
type Config struct {
	Module      string // path of the PKCS#11 library; must be in the allow-list
	TokenLabel  string
	TokenSerial string
	PIN         string
	MaxSessions int // 0: 8; at least 4. A quarter serves Ed25519 and housekeeping
	// Timeout is the deadline of one PKCS#11 call, 0: 10 s. Opening a token gets
	// three times as much and generating a key twelve times. As with MaxSessions,
	// who opens a token first decides.
	Timeout time.Duration
	// Now dates the last error in Status; without it the date is zero.
	Now func() time.Time
}

// String names the token without its PIN.
func (c Config) String() string {
	return fmt.Sprintf("token label %q serial %q of %s", c.TokenLabel, c.TokenSerial, c.Module)
}

// GoString is String: a PIN is shown in no format.
func (c Config) GoString() string { return c.String() }

// Evidence is what the token said about a private key when it was read back: a
// statement of the module, not a proof.
type Evidence struct {
	Local            bool `json:"local"`
	AlwaysSensitive  bool `json:"always_sensitive"`
	NeverExtractable bool `json:"never_extractable"`
	Sensitive        bool `json:"sensitive"`
	Extractable      bool `json:"extractable"`
}

// Status is what an operator sees of a token.
type Status struct {
	Reachable    bool
	PINLatched   bool // a wrong PIN was seen; no login until the config is written again
	Label        string
	Serial       string
	Manufacturer string
	Model        string
	Firmware     string // "major.minor"
	Mechanisms
	LastError   string // of the token while it was open; "" when there was none
	LastErrorAt time.Time
}

// Mechanisms says which of the PKCS#11 mechanisms that this package calls a token has.
type Mechanisms struct {
	Present []string // CKM_ names, in the order of RSA, EC and Ed25519
	Missing []string
	Count   int // of all mechanisms of the token
}

// TrimPIN removes one newline from the end of a PIN, LF or CR LF: files and echo end in
// one, and the token would count a wrong PIN.
func TrimPIN(text string) string {
	text, cut := strings.CutSuffix(text, "\n")
	if cut {
		text = strings.TrimSuffix(text, "\r")
	}
	return text
}

// Pair is what a token holds under one CKA_ID: both halves of a key pair, or one
// that was left alone by a crash.
type Pair struct {
	ID      []byte // CKA_ID
	Label   string // CKA_LABEL
	Private bool   // there is a private key
	Public  bool   // there is a public key
}

// Found is where Search found a private key, and what the token says of it.
type Found struct {
	ID       []byte // CKA_ID; empty: it has none
	Label    string // CKA_LABEL
	Evidence Evidence
}

// check validates what can be judged without a token.
func (c Config) check() error {
	switch {
	case c.Module == "":
		return fault.Field("module", "must be the path of a PKCS#11 library")
	case (c.TokenLabel == "") == (c.TokenSerial == ""):
		return fault.Field("token_label", "give exactly one of token_label and token_serial")
	case c.MaxSessions != 0 && (c.MaxSessions < fewestSessions || c.MaxSessions > 1024):
		return fault.Field("max_sessions", "must be 0 for the default of %d, or from %d to 1024", DefaultMaxSessions, fewestSessions)
	case c.Timeout < 0:
		return fault.Field("timeout", "must not be negative")
	}
	return nil
}
