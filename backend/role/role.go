// Package role promises that nobody gets a name that the role does not grant: it
// says who may ask, completes and validates the final set of names from parameters
// and CSR alike, and narrows a profile, never widens it. Pure.
package role

import (
	"crypto/x509/pkix"

	"vault-plugin-secrets-enterprise-pki/backend/cert"
	"vault-plugin-secrets-enterprise-pki/backend/profile"
)

// Config is a role as an operator declares it; tags as in profile.Config.
type Config struct {
	Profile string `json:"profile" doc:"..."`
}

// Identity is who asks, as Vault vouches for it.
type Identity struct {
	EntityID string   // "" for root and orphan tokens
	Groups   []string // ids and names of the entity's groups
	// Expand renders an identity template such as
	// "{{identity.entity.metadata.app}}.example.com". Nil when there is no entity.
	Expand func(template string) (string, error)
}

// Ask is what a request says about names.
type Ask struct {
	CommonName        string
	AltNames          []string // DNS names and e-mail addresses
	IPSANs            []string
	URISANs           []string
	OtherSANs         []string // "oid;UTF8:value"
	UserIDs           []string
	SerialNumber      string // subject serialNumber attribute
	ExcludeCNFromSANs bool
	CSR               *cert.Request // nil when the engine makes the key
}

// Role is a validated, immutable role bound to its effective profile.
type Role struct{}

// New validates a role. base is the profile that the role narrows and baseName
// its name@version; with a nil base the role's own fields make the profile, as in
// the built-in engine. A field that would widen the base is refused by its name.
func New(name string, config Config, base *profile.Config, baseName string) (*Role, error) {
	panic("not written")
}

// Name returns the role's name.
func (r *Role) Name() string { panic("not written") }

// Config returns what the operator declared.
func (r *Role) Config() Config { panic("not written") }

// Profile returns the effective profile: the base narrowed by the role.
func (r *Role) Profile() *profile.Profile { panic("not written") }

// Authorize refuses callers outside allowed_entities and allowed_groups: when
// either is set, anyone not listed is Denied, root tokens included (authz-3).
func (r *Role) Authorize(who Identity) error { panic("not written") }

// Names returns the subject and the final, normalised set of names, or a refusal
// that names field and rule.
func (r *Role) Names(ask Ask, who Identity) (pkix.Name, cert.Names, error) { panic("not written") }
