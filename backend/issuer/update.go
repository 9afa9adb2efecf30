package issuer

import (
	"cmp"
	"context"
	"crypto/x509"
	"slices"
	"strings"

	"vault-plugin-secrets-enterprise-pki/backend/fault"
	"vault-plugin-secrets-enterprise-pki/backend/profile"
)

// Update replaces an issuer's settings.
func (s *Set) Update(ctx context.Context, ref string, settings Settings) (*Issuer, error) {
	return s.Amend(ctx, ref, replacement(settings))
}

// replacement is the change that leaves nothing of what was stored.
func replacement[T any](with T) func(*T) error {
	return func(stored *T) error {
		*stored = with
		return nil
	}
}

// Amend changes an issuer's settings under the set's lock, so that of two changes at
// a time neither is lost, and a deleted issuer does not come back (race-1).
func (s *Set) Amend(ctx context.Context, ref string, change func(*Settings) error) (*Issuer, error) {
	var id string
	err := s.change(ctx, func(snap *snapshot) error {
		target, err := snap.get(ref)
		if err != nil {
			return err
		}
		id = target.ID()
		next := target.record
		next.Settings = target.Settings()
		if err := change(&next.Settings); err != nil {
			return err
		}
		if err := snap.checkSettings(target, &next.Settings); err != nil {
			return err
		}
		if err := s.keepName(ctx, snap, target, &next); err != nil {
			return err
		}
		return s.records.Put(ctx, id, &next)
	})
	if err != nil {
		return nil, err
	}
	return s.Get(ctx, id)
}

func (n *snapshot) checkSettings(target *Issuer, settings *Settings) error {
	if settings.Name != target.Name() {
		if err := n.checkName(target, settings.Name); err != nil {
			return err
		}
	}
	if settings.LeafNotAfter != "err" && settings.LeafNotAfter != "truncate" {
		return fault.Field("leaf_not_after_behavior", "must be err or truncate: a certificate never outlives its issuer")
	}
	settings.Publish = cmp.Or(settings.Publish, PublishAuto)
	if modes := []string{PublishAuto, PublishAlways, PublishNever}; !slices.Contains(modes, settings.Publish) {
		return fault.Field("publish", "must be %s", fault.List(modes))
	}
	if slices.Equal(settings.Usage, target.Settings().Usage) { // an earlier release kept usages that are of no use
		settings.Usage = UsageFor(target.cert, settings.Usage)
	}
	if err := checkUsage(target, settings.Usage); err != nil {
		return err
	}
	if _, err := ParseAlgorithm(settings.RevocationAlgorithm); err != nil {
		return err
	}
	if err := n.checkManualChain(target, settings.ManualChain); err != nil {
		return err
	}
	return checkURLs(profile.URLs{
		IssuingCertificates: settings.IssuingCertificates, CRLDistributionPoints: settings.CRLDistribution,
		DeltaCRLs: settings.DeltaCRLs, OCSPServers: settings.OCSPServers,
	}, settings.EnableAIATemplating)
}

// checkUsage holds an issuer to the key usage of its certificate, and a revoked one to
// never issue again (ca-4).
func checkUsage(target *Issuer, usage []string) error {
	for _, u := range usage {
		if !slices.Contains(Usages(), Usage(u)) {
			return fault.Field("usage", "%q must be read-only, issuing-certificates, crl-signing or ocsp-signing", u)
		}
	}
	if !signsCRLs(target.cert) && slices.Contains(usage, string(CRLSigning)) {
		return fault.Field("usage", "must not list crl-signing: the certificate of issuer %s lacks the key usage cRLSign", target.ID())
	}
	if target.State() == Revoked && slices.Contains(usage, string(Issuing)) {
		return fault.Field("usage", "issuer %s was revoked and never issues again", target.ID())
	}
	if target.ended != "" && slices.Contains(usage, string(Issuing)) && !slices.Contains(target.Settings().Usage, string(Issuing)) {
		return fault.Field("usage", "issuer %s has the key of issuer %s, which was revoked, and never issues again", target.ID(), target.ended)
	}
	return nil
}

// ParseAlgorithm reads a signature algorithm in the words of the built-in engine,
// such as "SHA256WithRSA", "SHA384WithRSAPSS", "ECDSAWithSHA256" or "PureEd25519"; ""
// is zero, the one that suits the key.
func ParseAlgorithm(text string) (x509.SignatureAlgorithm, error) {
	if text == "" {
		return x509.UnknownSignatureAlgorithm, nil
	}
	fold := func(s string) string {
		return strings.ToLower(strings.NewReplacer("-", "", "with", "", "With", "", "Pure", "").Replace(s))
	}
	known := []x509.SignatureAlgorithm{
		x509.SHA256WithRSA, x509.SHA384WithRSA, x509.SHA512WithRSA, x509.SHA256WithRSAPSS, x509.SHA384WithRSAPSS,
		x509.SHA512WithRSAPSS, x509.ECDSAWithSHA256, x509.ECDSAWithSHA384, x509.ECDSAWithSHA512, x509.PureEd25519,
	}
	names := make([]string, 0, len(known))
	for _, algorithm := range known {
		if fold(algorithm.String()) == fold(text) {
			return algorithm, nil
		}
		names = append(names, algorithm.String())
	}
	return 0, fault.Field("revocation_signature_algorithm", "%q must be %s", text, fault.List(names))
}
