package ceremony

import (
	"bytes"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/asn1"
	"slices"
	"strings"
	"time"

	"vault-plugin-secrets-enterprise-pki/backend/fault"
	"vault-plugin-secrets-enterprise-pki/backend/profile"
	"vault-plugin-secrets-enterprise-pki/backend/sign"
)

// extensions lists what certificates of a preset may carry, by OID, and whether it
// must be critical (RFC 5280 section 4.2).
var extensions = map[string]map[string]bool{
	rootPreset:         {"2.5.29.14": false, "2.5.29.35": false, "2.5.29.15": true, "2.5.29.19": true, "2.5.29.30": true, "2.5.29.32": false},
	issuingPreset:      {"2.5.29.14": false, "2.5.29.35": false, "2.5.29.15": true, "2.5.29.19": true, "2.5.29.30": true, "2.5.29.32": false, "2.5.29.37": false, "2.5.29.31": false, "1.3.6.1.5.5.7.1.1": false},
	intermediatePreset: {"2.5.29.14": false, "2.5.29.35": false, "2.5.29.15": true, "2.5.29.19": true, "2.5.29.30": true, "2.5.29.32": false, "2.5.29.37": false, "2.5.29.31": false, "1.3.6.1.5.5.7.1.1": false},
}

// fits returns the check that a certificate is one that the preset makes: the preset
// is asked again for the same subject, key and validity, and must give the same. For
// a root, the issuer given is ignored.
func fits(preset string) sign.Check {
	return func(certificate, issuer *x509.Certificate) error {
		if preset == rootPreset {
			issuer = nil
		}
		if err := checkExtensions(preset, certificate); err != nil {
			return err
		}
		planned, err := again(preset, certificate, issuer)
		if err != nil {
			return err
		}
		return compare(certificate, planned, issuer)
	}
}

func checkExtensions(preset string, certificate *x509.Certificate) error {
	for _, extension := range certificate.Extensions {
		critical, known := extensions[preset][extension.Id.String()]
		switch {
		case !known:
			return fault.New(fault.Invalid, "extension %s is not in preset %s", extension.Id, preset)
		case critical != extension.Critical:
			return fault.New(fault.Invalid, "extension %s must be critical: %t", extension.Id, critical)
		}
	}
	return nil
}

// again returns what the preset makes of the certificate's own values. Constraints
// and policies narrow what a CA may do, so any are fine.
func again(preset string, certificate, issuer *x509.Certificate) (*x509.Certificate, error) {
	limits := Limits{ExtKeyUsage: usages(certificate)}
	if certificate.MaxPathLen >= 0 {
		limits.MaxPathLength = &certificate.MaxPathLen
	}
	compiled, err := limits.compile(preset)
	if err != nil {
		return nil, err
	}
	backdated := time.Duration(compiled.Config().NotBeforeDur) * time.Second
	planned, err := compiled.Template(profile.Ask{
		Subject: certificate.Subject, PublicKey: certificate.PublicKey, NotAfter: certificate.NotAfter, Issuer: issuer,
		URLs: profile.URLs{
			IssuingCertificates: certificate.IssuingCertificateURL, CRLDistributionPoints: certificate.CRLDistributionPoints, OCSPServers: certificate.OCSPServer,
		},
	}, certificate.NotBefore.Add(backdated))
	if err != nil {
		return nil, err
	}
	return planned.Certificate, nil
}

func compare(certificate, planned, issuer *x509.Certificate) error {
	hasUsages := len(certificate.ExtKeyUsage)+len(certificate.UnknownExtKeyUsage) > 0
	wantsUsages := len(planned.ExtKeyUsage)+len(planned.UnknownExtKeyUsage) > 0
	switch {
	case certificate.KeyUsage != planned.KeyUsage:
		return differs("keyUsage", strings.Join(profile.KeyUsageNames(planned.KeyUsage), ", "))
	case !certificate.BasicConstraintsValid || !certificate.IsCA:
		return differs("basicConstraints", "CA:TRUE")
	case certificate.MaxPathLen < 0 && planned.MaxPathLen >= 0:
		return differs("basicConstraints", "have a path length")
	case hasUsages != wantsUsages:
		return fault.New(fault.Invalid, "extKeyUsage is required in an issuing CA and must not be in a root")
	case !bytes.Equal(certificate.SubjectKeyId, planned.SubjectKeyId):
		return differs("subjectKeyIdentifier", "160 bits of the SHA-256 digest of the key (RFC 7093)")
	case issuer != nil && !bytes.Equal(certificate.AuthorityKeyId, issuer.SubjectKeyId):
		return differs("authorityKeyIdentifier", "the issuer's key identifier")
	case issuer == nil && len(certificate.AuthorityKeyId) > 0 && !bytes.Equal(certificate.AuthorityKeyId, certificate.SubjectKeyId):
		return differs("authorityKeyIdentifier", "the root's own key identifier")
	case certificate.Subject.String() != planned.Subject.String():
		return differs("subject", planned.Subject.String())
	case issuer != nil && len(certificate.CRLDistributionPoints) == 0:
		return fault.New(fault.Invalid, "cRLDistributionPoints is required in an issuing CA")
	}
	return nil
}

func differs(field, wanted string) error {
	return fault.New(fault.Invalid, "%s must be %s", field, wanted)
}

// usages returns the extended key usages of a certificate as OIDs.
func usages(certificate *x509.Certificate) []string {
	at := slices.IndexFunc(certificate.Extensions, func(e pkix.Extension) bool { return e.Id.String() == "2.5.29.37" })
	if at < 0 {
		return nil
	}
	var list []asn1.ObjectIdentifier
	if _, err := asn1.Unmarshal(certificate.Extensions[at].Value, &list); err != nil {
		return nil // crypto/x509 has parsed it
	}
	oids := make([]string, len(list))
	for i, oid := range list {
		oids[i] = oid.String()
	}
	return oids
}
