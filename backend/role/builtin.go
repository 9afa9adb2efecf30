package role

import (
	"slices"

	"vault-plugin-secrets-enterprise-pki/backend/cert"
	"vault-plugin-secrets-enterprise-pki/backend/profile"
)

// builtIn returns the profile that does what the built-in engine's role does: names
// are the role's business alone, and what a CSR asks for beyond names is dropped.
func builtIn(c *Config) profile.Config {
	p := profile.DefaultConfig()
	p.KeyAlgorithms = specNames(wantedKeys(c))
	p.SignatureHashBits, p.SignaturePSS = c.SignatureBits, c.UsePSS
	p.DefaultTTL, p.MaxTTL, p.NotBeforeDur, p.NotAfter = c.TTL, c.MaxTTL, c.NotBeforeDuration, c.NotAfter
	p.SubjectAllowed = profile.SubjectAttributes()
	p.CNPolicy = profile.CNFree
	p.SANTypes = []string{profile.SANDNS, profile.SANIP, profile.SANURI, profile.SANEmail, profile.SANOther}
	p.SANMax, p.SANURIMax = cert.MaxSANs, cert.MaxSANs
	p.AllowWildcards = c.AllowWildcardCertificates
	p.KeyUsage, p.ExtKeyUsage = c.KeyUsage, c.extKeyUsages()
	p.PolicyIdentifiers, p.BCForNonCA = c.PolicyIdentifiers, c.BCForNonCA
	p.NoStore = c.NoStore
	p.CSRExtra = profile.CSRDrop
	return p
}

// extKeyUsages lists the usages of flags, names and OIDs.
func (c *Config) extKeyUsages() []string {
	var usages []string
	for _, flag := range c.flags() {
		if flag.set {
			usages = append(usages, flag.usage)
		}
	}
	return slices.Concat(usages, c.ExtKeyUsage, c.ExtKeyUsageOIDs)
}

type usageFlag struct {
	field, usage string
	set          bool
}

func (c *Config) flags() []usageFlag {
	return []usageFlag{
		{"server_flag", "ServerAuth", c.ServerFlag},
		{"client_flag", "ClientAuth", c.ClientFlag},
		{"code_signing_flag", "CodeSigning", c.CodeSigningFlag},
		{"email_protection_flag", "EmailProtection", c.EmailProtectionFlag},
	}
}

// wantedKeys lists the keys that key_type and key_bits allow: a size is a minimum,
// and with key_type any it bounds the family that has such a size.
func wantedKeys(c *Config) []cert.KeySpec {
	rsaBits, ecBits := 2048, 256
	if c.KeyBits >= cert.MinRSABits {
		rsaBits = c.KeyBits
	} else if c.KeyBits > 0 {
		ecBits = c.KeyBits
	}
	var wanted []cert.KeySpec
	for _, spec := range cert.KeySpecs() {
		if c.KeyType != keyTypeAny && c.KeyType != string(spec.Type) {
			continue
		}
		if spec.Type == cert.RSA && spec.Bits != rsaBits || spec.Type == cert.EC && spec.Bits < ecBits {
			continue
		}
		wanted = append(wanted, spec)
	}
	return wanted
}

func specNames(specs []cert.KeySpec) []string {
	names := make([]string, len(specs))
	for i, spec := range specs {
		names[i] = spec.String()
	}
	return names
}
