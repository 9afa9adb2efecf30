package publisher

import (
	"cmp"

	"vault-plugin-secrets-enterprise-pki/backend/cert"
	"vault-plugin-secrets-enterprise-pki/backend/feed"
)

// told is a publisher as edges are told.
func (r record) told(name string) feed.Publisher {
	s := &r.Settings
	p := feed.Publisher{
		Name: name, Version: r.Version, Type: s.Type, Issuers: s.Issuers, Publish: s.Publish,
		URL: s.URL, Path: s.Path, Credential: s.Credential,
	}
	if s.Type == LDAP {
		p.LDAP = feed.PublisherLDAP{
			BaseDN: s.BaseDN, StartTLS: s.StartTLS,
			CRL:           cmp.Or(s.CRLAttribute, defaultCRL),
			DeltaCRL:      cmp.Or(s.DeltaCRLAttribute, defaultDeltaCRL),
			CACertificate: cmp.Or(s.CACertificateAttribute, defaultCACertificate),
		}
	}
	if s.CACertificates != "" {
		certificates, _, _ := cert.ParseCertificates([]byte(s.CACertificates)) // checked when it was written
		for _, c := range certificates {
			p.CACertificates = append(p.CACertificates, cert.CertificatePEM(c.Raw))
		}
	}
	return p
}
