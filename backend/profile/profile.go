// Package profile promises that a certificate is only ever what a profile version
// says: a pure function from a request and the current time to a template, or to
// a refusal that names the field and the rule. It knows nothing of who asks (that
// is a role) nor of storage.
package profile

import (
	"crypto"
	"crypto/x509"
	"crypto/x509/pkix"
	"time"

	"vault-plugin-secrets-enterprise-pki/backend/cert"
)

// Config is a profile as an operator declares it: the record that is stored, sent
// and read back. All fields are flat so that the vault CLI can set each one.
// Tags: json is the API and storage name, doc the description that path-help,
// OpenAPI and the reference show, enum the allowed values, default the default,
// kind "duration" marks seconds that also accept "720h".
type Config struct {
	Preset      string `json:"preset" doc:"..."`
	Description string `json:"description" doc:"..."`
}

// Ask is one request for a certificate, after the role has accepted its names.
type Ask struct {
	Subject   pkix.Name
	Names     cert.Names
	PublicKey crypto.PublicKey
	TTL       time.Duration // 0: the profile's default
	NotAfter  time.Time     // zero: from TTL; both given is refused by the caller
	// KeyUsage and ExtKeyUsage a CSR asked for; zero when it asked for none.
	KeyUsage    x509.KeyUsage
	ExtKeyUsage []string
	// EngineKey says that the engine generates the key.
	EngineKey bool
	Issuer    *x509.Certificate
	URLs      URLs
}

// URLs are the places that a certificate points to, decided by its issuer.
type URLs struct {
	IssuingCertificates   []string
	CRLDistributionPoints []string
	OCSPServers           []string
}

// Profile is a validated, immutable profile version.
type Profile struct{}

// New validates a Config and returns the profile; version is recorded in Name.
func New(name string, version int, config Config) (*Profile, error) { panic("not written") }

// Template returns what would be signed for the request at this moment.
func (p *Profile) Template(ask Ask, now time.Time) (*x509.Certificate, error) { panic("not written") }
