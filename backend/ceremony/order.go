package ceremony

import (
	"crypto/sha256"
	"encoding/hex"
	"time"

	"vault-plugin-secrets-enterprise-pki/backend/cert"
	"vault-plugin-secrets-enterprise-pki/backend/fault"
)

// TokenOrder names the PKCS#11 token. Exactly one of Label and Serial is set. There
// is no place for a PIN.
type TokenOrder struct {
	Module string `yaml:"module" required:"true" doc:"Path of the PKCS#11 library." example:"/usr/lib/softhsm/libsofthsm2.so"`
	Label  string `yaml:"label" doc:"Label of the token. Give label or serial." example:"example-root"`
	Serial string `yaml:"serial" doc:"Serial number of the token. Give label or serial."`
}

// KeyOrder names the root's key in the token.
type KeyOrder struct {
	Label     string `yaml:"label" doc:"CKA_LABEL of the key. Required for a key that is generated." example:"example-root-g1"`
	Algorithm string `yaml:"algorithm" doc:"Algorithm of a key that is generated, ec-384 or rsa-4096. Required by root create, refused by other commands." example:"ec-384"`
	// ID is the CKA_ID. A key that is generated without one gets the first 20 octets of
	// the SHA-256 digest of the label, so that one label means one key.
	ID string `yaml:"id" doc:"CKA_ID of the key in hexadecimal. root create derives it from the label when it is absent. Other commands find a key without it, by the public key in the root's certificate."`
}

// RootOrder orders a root: its key, its certificate and its first CRL.
type RootOrder struct {
	Token    TokenOrder  `yaml:"token" doc:"The token that holds the key."`
	Key      KeyOrder    `yaml:"key" doc:"The key that is generated."`
	Subject  Subject     `yaml:"subject" doc:"The root's name."`
	Validity Period      `yaml:"validity" required:"true" doc:"Validity of the certificate: days or calendar years." example:"20y"`
	Profile  Limits      `yaml:"profile" doc:"Narrows the preset root-ca. An absent field leaves the preset's value."`
	CRL      RootCRL     `yaml:"crl" doc:"The first CRL."`
	Outputs  RootOutputs `yaml:"outputs" doc:"Files to write. A file that exists is never overwritten."`
}

// RootCRL is the first CRL of a root.
type RootCRL struct {
	Number     cert.CRLNumber `yaml:"number" doc:"CRL number, decimal. Absent: 1." example:"1"`
	NextUpdate Period         `yaml:"next_update" required:"true" doc:"When the next CRL is due at the latest: days or calendar years from now." example:"365d"`
}

// RootOutputs names the files that a root ceremony writes.
type RootOutputs struct {
	Certificate string `yaml:"certificate" required:"true" doc:"The certificate, PEM." example:"root.pem"`
	CRL         string `yaml:"crl" required:"true" doc:"The CRL, DER." example:"root-1.crl"`
	Record      string `yaml:"record" required:"true" doc:"The record of signatures, a new file." example:"root.record"`
}

// IssuingOrder orders the certificate of a CA below the root.
type IssuingOrder struct {
	Token  TokenOrder `yaml:"token" doc:"The token that holds the root's key."`
	Key    KeyOrder   `yaml:"key" doc:"The root's key. Absent: it is found by the public key in the root's certificate."`
	Issuer string     `yaml:"issuer" required:"true" doc:"File with the root's certificate." example:"root.pem"`
	Tier   string     `yaml:"tier" doc:"issuing for a CA that issues to end entities, intermediate for a parent of issuing CAs. Absent: issuing." example:"issuing"`
	// RequestKey is the SHA-256 digest of the SubjectPublicKeyInfo that the request must
	// have.
	RequestKey string         `yaml:"request_key_sha256" doc:"SHA-256 of the public key (SubjectPublicKeyInfo) that the request must have, in hexadecimal with or without colons. Absent: the value is only shown, compare it yourself."`
	Subject    *Subject       `yaml:"subject" doc:"The CA's name. Absent: the name in the request."`
	Validity   Period         `yaml:"validity" required:"true" doc:"Validity of the certificate: days or calendar years." example:"1826d"`
	Profile    Limits         `yaml:"profile" doc:"Narrows the preset issuing-ca or intermediate-ca. An absent field leaves the preset's value."`
	URLs       URLOrder       `yaml:"urls" doc:"Where relying parties find files of the root. Only http and ldap URLs."`
	Outputs    IssuingOutputs `yaml:"outputs" doc:"Files to write."`
}

// URLOrder lists where relying parties find what the root publishes.
type URLOrder struct {
	CAIssuers []string `yaml:"ca_issuers" doc:"URLs of the root's certificate." example:"[http://pki.example.com/ca/root.cer]"`
	CRL       []string `yaml:"crl" required:"true" doc:"URLs of the root's CRL." example:"[http://pki.example.com/crl/root.crl]"`
	OCSP      []string `yaml:"ocsp" doc:"URLs of an OCSP responder for the root."`
}

// IssuingOutputs names the files that an issuing ceremony writes.
type IssuingOutputs struct {
	Certificate string `yaml:"certificate" required:"true" doc:"The certificate, PEM. A file that exists is never overwritten." example:"ica.pem"`
	Record      string `yaml:"record" required:"true" doc:"The root's record of signatures, which must exist. An empty file begins the record of a root that other software made." example:"root.record"`
}

// CRLOrder orders the next CRL of a root. What the previous one lists stays listed.
type CRLOrder struct {
	Token      TokenOrder     `yaml:"token" doc:"The token that holds the root's key."`
	Key        KeyOrder       `yaml:"key" doc:"The root's key. Absent: it is found by the public key in the root's certificate."`
	Issuer     string         `yaml:"issuer" required:"true" doc:"File with the root's certificate." example:"root.pem"`
	Previous   string         `yaml:"previous" doc:"File with the newest CRL of the root, PEM or DER. All its entries stay. Required unless first is true." example:"root-1.crl"`
	First      bool           `yaml:"first" doc:"States that the root has never had a CRL."`
	Number     cert.CRLNumber `yaml:"number" doc:"CRL number, decimal. Absent: one more than the previous one."`
	NextUpdate Period         `yaml:"next_update" required:"true" doc:"When the next CRL is due at the latest: days or calendar years from now." example:"365d"`
	Revoked    []Revocation   `yaml:"revoked" doc:"Newly revoked certificates."`
	Outputs    CRLOutputs     `yaml:"outputs" doc:"Files to write."`
}

// Revocation is one newly revoked CA certificate.
type Revocation struct {
	Serial     string    `yaml:"serial" required:"true" doc:"Serial number in hexadecimal." example:"4a:00:00:00:00:00:00:00:00:00:00:00:00:00:00:00:00:00:00:01"`
	Date       time.Time `yaml:"date" required:"true" doc:"When it was revoked, RFC 3339." example:"2020-01-01T00:00:00Z"`
	Reason     string    `yaml:"reason" required:"true" doc:"Reason of RFC 5280 section 5.3.1." example:"cACompromise"`
	Unrecorded bool      `yaml:"unrecorded" doc:"States that the root issued the certificate without this record. Without it, a serial number that is not in the record is refused."`
}

// CRLOutputs names the files that a CRL ceremony writes.
type CRLOutputs struct {
	CRL    string `yaml:"crl" required:"true" doc:"The CRL, DER. A file that exists is never overwritten." example:"root-2.crl"`
	Record string `yaml:"record" required:"true" doc:"The root's record of signatures, which must exist. An empty file begins the record of a root that other software made." example:"root.record"`
}

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

// id returns the CKA_ID of a key that is generated.
func (k KeyOrder) id() ([]byte, error) {
	if k.Label == "" {
		return nil, fault.Field("key.label", "must not be empty")
	}
	if k.ID == "" {
		digest := sha256.Sum256([]byte(k.Label))
		return digest[:20], nil
	}
	return k.givenID()
}

// givenID returns the CKA_ID that the order names, nil for none.
func (k KeyOrder) givenID() ([]byte, error) {
	id, err := hex.DecodeString(k.ID)
	if err != nil || len(id) > 64 {
		return nil, fault.Field("key.id", "must be up to 64 bytes in hexadecimal")
	}
	return id, nil
}

// existing checks a KeyOrder that names a key to be found.
func (k KeyOrder) existing() error {
	if k.Algorithm != "" {
		return fault.Field("key.algorithm", "belongs only to a key that is generated; remove it")
	}
	_, err := k.givenID()
	return err
}
