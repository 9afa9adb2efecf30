package revoke

import (
	"encoding/hex"
	"strings"

	"vault-plugin-secrets-enterprise-pki/backend/cert"
	"vault-plugin-secrets-enterprise-pki/backend/fault"
	"vault-plugin-secrets-enterprise-pki/backend/ledger"
)

// Filter says which certificates a bulk revocation is about: those that meet every
// field that is not empty. At least one is set.
type Filter struct {
	Issuer  string `json:"issuer,omitempty"` // id of any issuer of the CA
	Role    string `json:"role,omitempty"`
	Owner   string `json:"owner,omitempty"`
	Profile string `json:"profile,omitempty"` // name for all versions, or name@version
	Key     string `json:"key,omitempty"`     // SHA-256 of the SubjectPublicKeyInfo, see ParseKey
}

// ParseKey reads the fingerprint of a public key: 64 hexadecimal digits in either
// case, with or without colons.
func ParseKey(text string) (cert.Fingerprint, error) {
	raw, err := hex.DecodeString(strings.ReplaceAll(text, ":", ""))
	if err != nil || len(raw) != len(cert.Fingerprint{}) {
		return cert.Fingerprint{}, fault.Field("key", "must be the SHA-256 of a SubjectPublicKeyInfo, 64 hexadecimal digits with or without colons")
	}
	return cert.Fingerprint(raw), nil
}

// check refuses a filter that would name every certificate of the mount.
func (f *Filter) check() error {
	if *f == (Filter{}) {
		return fault.Field("issuer", "at least one of issuer, role, owner, key and profile is required: a bulk revocation never means every certificate of the mount")
	}
	if f.Key == "" {
		return nil
	}
	_, err := ParseKey(f.Key)
	return err
}

// matcher returns what tells whether a row meets the filter, which was checked, as far
// as rows tell: of a key they hold the first 64 bits. An issuer means its CA.
func (f *Filter) matcher(sameCA func(issuer, other string) bool) func(row *ledger.Row) bool {
	key, _ := ParseKey(f.Key)
	return func(row *ledger.Row) bool {
		return (f.Issuer == "" || f.Issuer == row.Issuer || sameCA(f.Issuer, row.Issuer)) &&
			(f.Role == "" || f.Role == row.Role) &&
			(f.Owner == "" || f.Owner == row.Owner) &&
			(f.Profile == "" || f.Profile == row.Profile || f.Profile == profileName(row.Profile)) &&
			(f.Key == "" || [8]byte(key[:8]) == row.KeyHash)
	}
}

// profileName returns the name of name@version.
func profileName(profile string) string {
	name, _, _ := strings.Cut(profile, "@")
	return name
}
