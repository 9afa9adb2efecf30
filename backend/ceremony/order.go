package ceremony

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"io"
	"regexp"
	"strings"
	"time"

	"go.yaml.in/yaml/v3"

	"vault-plugin-secrets-enterprise-pki/backend/fault"
)

// maxOrder is the largest order file that is parsed, in octets.
const maxOrder = 256 << 10

// TokenOrder names the PKCS#11 token. Exactly one of Label and Serial is set. There
// is no place for a PIN.
type TokenOrder struct {
	Module string `yaml:"module"` // path of the PKCS#11 library
	Label  string `yaml:"label"`
	Serial string `yaml:"serial"`
}

// KeyOrder names the root's key in the token.
type KeyOrder struct {
	Label     string `yaml:"label"`
	Algorithm string `yaml:"algorithm"` // of a key to generate: ec-384, rsa-4096 ...
	// ID is the CKA_ID in hexadecimal; empty: the first 20 octets of the SHA-256
	// digest of the label, so that one label means one key.
	ID string `yaml:"id"`
}

// RootOrder orders a root: its key, its certificate and its first CRL.
type RootOrder struct {
	Token    TokenOrder  `yaml:"token"`
	Key      KeyOrder    `yaml:"key"`
	Subject  Subject     `yaml:"subject"`
	Validity Period      `yaml:"validity"`
	Profile  Limits      `yaml:"profile"` // on top of the preset root-ca
	CRL      RootCRL     `yaml:"crl"`
	Outputs  RootOutputs `yaml:"outputs"`
}

// RootCRL is the first CRL of a root.
type RootCRL struct {
	Number     int64  `yaml:"number"` // 0: 1
	NextUpdate Period `yaml:"next_update"`
}

// RootOutputs names the files that a root ceremony writes.
type RootOutputs struct {
	Certificate string `yaml:"certificate"` // PEM
	CRL         string `yaml:"crl"`         // DER
	Record      string `yaml:"record"`
}

// IssuingOrder orders an issuing CA's certificate.
type IssuingOrder struct {
	Token  TokenOrder `yaml:"token"`
	Key    KeyOrder   `yaml:"key"`
	Issuer string     `yaml:"issuer"` // file: the root's certificate
	// RequestKey is the SHA-256 digest of the SubjectPublicKeyInfo that the request
	// must have, in hexadecimal with or without ":"; empty: only shown.
	RequestKey string         `yaml:"request_key_sha256"`
	Subject    *Subject       `yaml:"subject"` // absent: the request's
	Validity   Period         `yaml:"validity"`
	Profile    Limits         `yaml:"profile"` // on top of the preset issuing-ca
	URLs       URLOrder       `yaml:"urls"`
	Outputs    IssuingOutputs `yaml:"outputs"`
}

// URLOrder lists where relying parties find what the root publishes.
type URLOrder struct {
	CAIssuers []string `yaml:"ca_issuers"` // the root's certificate
	CRL       []string `yaml:"crl"`        // the root's CRL
	OCSP      []string `yaml:"ocsp"`
}

// IssuingOutputs names the files that an issuing ceremony writes.
type IssuingOutputs struct {
	Certificate string `yaml:"certificate"` // PEM
	Record      string `yaml:"record"`
}

// CRLOrder orders the next CRL of a root. What the previous one lists stays listed.
type CRLOrder struct {
	Token      TokenOrder   `yaml:"token"`
	Key        KeyOrder     `yaml:"key"`
	Issuer     string       `yaml:"issuer"`   // file: the root's certificate
	Previous   string       `yaml:"previous"` // file: the newest CRL of the root
	First      bool         `yaml:"first"`    // says that there is no previous CRL
	Number     int64        `yaml:"number"`   // 0: one more than the previous one
	NextUpdate Period       `yaml:"next_update"`
	Revoked    []Revocation `yaml:"revoked"`
	Outputs    CRLOutputs   `yaml:"outputs"`
}

// Revocation is one newly revoked CA certificate.
type Revocation struct {
	Serial string    `yaml:"serial"` // hexadecimal
	Date   time.Time `yaml:"date"`
	Reason string    `yaml:"reason"` // of RFC 5280 section 5.3.1
}

// CRLOutputs names the files that a CRL ceremony writes.
type CRLOutputs struct {
	CRL    string `yaml:"crl"` // DER
	Record string `yaml:"record"`
}

// Decode reads one order from YAML: one document, every key known and given once.
func Decode[O RootOrder | IssuingOrder | CRLOrder](raw []byte) (O, error) {
	var order, none O
	if len(raw) > maxOrder {
		return none, fault.New(fault.TooLarge, "an order must be at most %d octets", maxOrder)
	}
	decoder := yaml.NewDecoder(bytes.NewReader(raw))
	decoder.KnownFields(true)
	err := decoder.Decode(&order)
	if errors.Is(err, io.EOF) {
		return none, fault.New(fault.Invalid, "the order is empty")
	}
	if err != nil {
		return none, fault.New(fault.Invalid, "reading order: %s", explain(err))
	}
	var more yaml.Node
	if err := decoder.Decode(&more); !errors.Is(err, io.EOF) {
		return none, fault.New(fault.Invalid, "an order must be one YAML document")
	}
	return order, nil
}

var (
	unknownField = regexp.MustCompile(`field (.+) not found in type \S+`)
	goType       = regexp.MustCompile(`ceremony\.(\w+)`)
)

// explain turns the YAML reader's words, which name Go types, into an operator's.
// Values are cut from the text: a PIN that was put into the file stays unsaid.
func explain(err error) string {
	var typed *yaml.TypeError
	if !errors.As(err, &typed) {
		return strings.TrimPrefix(err.Error(), "yaml: ")
	}
	lines := make([]string, len(typed.Errors))
	for i, line := range typed.Errors {
		line = unknownField.ReplaceAllString(line, `unknown key "$1"`)
		line = shownValue.ReplaceAllString(line, "")
		lines[i] = goType.ReplaceAllString(line, "$1")
	}
	return strings.Join(lines, "; ")
}

var shownValue = regexp.MustCompile(" `[^`]*`")

// name returns how messages call the token.
func (t TokenOrder) name() string {
	if t.Label != "" {
		return "token " + t.Label
	}
	return "token with serial number " + t.Serial
}

func (t TokenOrder) check() error {
	switch {
	case t.Module == "":
		return fault.Field("token.module", "must name the PKCS#11 library")
	case (t.Label == "") == (t.Serial == ""):
		return fault.Field("token", "must have a label or a serial, not both")
	}
	return nil
}

// id returns the CKA_ID.
func (k KeyOrder) id() ([]byte, error) {
	if k.Label == "" {
		return nil, fault.Field("key.label", "must not be empty")
	}
	if k.ID == "" {
		digest := sha256.Sum256([]byte(k.Label))
		return digest[:20], nil
	}
	id, err := hex.DecodeString(k.ID)
	if err != nil || len(id) > 64 {
		return nil, fault.Field("key.id", "must be up to 64 octets in hexadecimal")
	}
	return id, nil
}

// existing checks a KeyOrder that names a key to be found.
func (k KeyOrder) existing() error {
	if k.Algorithm != "" {
		return fault.Field("key.algorithm", "belongs only to a key that is generated")
	}
	_, err := k.id()
	return err
}
