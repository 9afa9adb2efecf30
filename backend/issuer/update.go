package issuer

import (
	"cmp"
	"context"
	"crypto/x509"
	"fmt"
	"slices"
	"strings"
	"time"

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

// Delete removes an issuer; its key stays. It returns whether the default issuer is
// gone with it. A revoked one stays until its certificate ends: deleted, it could be
// imported as if nothing had happened (ca-4), and nobody would make its CRL.
func (s *Set) Delete(ctx context.Context, ref string) (wasDefault bool, err error) {
	err = s.change(ctx, func(snap *snapshot) error {
		target, err := snap.get(ref)
		if err != nil {
			return err
		}
		if target.State() == Revoked && s.Now().Before(target.cert.NotAfter) {
			return fault.New(fault.Conflict, "issuer %s was revoked and stays until its certificate ends at %s",
				target.ID(), target.cert.NotAfter.UTC().Format(time.RFC3339))
		}
		if snap.defaults.Default == target.ID() {
			wasDefault = true
			if err := s.defaults.Put(ctx, single, &Defaults{FollowsLatest: snap.defaults.FollowsLatest}); err != nil {
				return err
			}
		}
		return s.records.Delete(ctx, target.ID())
	})
	return wasDefault, err
}

// Revoke ends an issuer and every other one that has its key: a CA is revoked as
// compromised, and what is compromised is the key. They never issue again and are no
// longer the default. Relying parties learn it from the CRLs of the CAs above. The
// issuer that was named comes first.
//
// If we crash in between, some of them are not called revoked, and issue no more all
// the same (Issuer.May): the same call does the rest.
func (s *Set) Revoke(ctx context.Context, ref string) ([]*Issuer, error) {
	var ids []string
	err := s.change(ctx, func(snap *snapshot) error {
		target, err := snap.get(ref)
		if err != nil {
			return err
		}
		ids = []string{target.ID()}
		if err := s.end(ctx, snap, target); err != nil {
			return err
		}
		for _, twin := range snap.ordered {
			if twin == target || twin.key != target.key || twin.KeyID() == "" || twin.cert == nil {
				continue
			}
			ids = append(ids, twin.ID())
			if err := s.end(ctx, snap, twin); err != nil {
				return err
			}
		}
		return nil
	})
	if err != nil {
		return nil, fmt.Errorf("moving issuer %s to %s: %w", ref, Revoked, err)
	}
	ended := make([]*Issuer, 0, len(ids))
	for _, id := range ids {
		i, err := s.Get(ctx, id)
		if err != nil {
			return nil, err
		}
		ended = append(ended, i)
	}
	return ended, nil
}

// end writes that one issuer is revoked.
func (s *Set) end(ctx context.Context, snap *snapshot, target *Issuer) error {
	if target.State() == Revoked {
		return nil
	}
	next := target.record
	next.RevokedAt = s.Now().Unix()
	next.Settings.Usage = slices.DeleteFunc(slices.Clone(next.Settings.Usage), func(u string) bool { return u == string(Issuing) })
	return s.transit(ctx, snap, target, &next, Revoked)
}

// transitions says which states may follow which by an operator's word.
var transitions = map[State][]State{
	Active:   {Retiring, Revoked},
	Retiring: {Active, Retired, Revoked},
	Retired:  {Revoked},
}

// Retire moves an active issuer to retiring (no new certificates), and a retiring
// one to retired.
func (s *Set) Retire(ctx context.Context, ref string) (*Issuer, error) {
	target, err := s.Get(ctx, ref)
	if err != nil {
		return nil, err
	}
	if target.State() == Retiring {
		return s.move(ctx, target.ID(), Retired)
	}
	return s.move(ctx, target.ID(), Retiring)
}

// Activate moves a retiring issuer back to active.
func (s *Set) Activate(ctx context.Context, ref string) (*Issuer, error) {
	return s.move(ctx, ref, Active)
}

// transit writes the next record of an issuer in another state. What is not active is
// not the default.
func (s *Set) transit(ctx context.Context, snap *snapshot, target *Issuer, next *record, to State) error {
	if !slices.Contains(transitions[target.State()], to) {
		return fault.New(fault.Conflict, "issuer %s is %s and cannot become %s", target.ID(), target.State(), to)
	}
	if to == Active && target.ended != "" {
		return fault.New(fault.Conflict, "issuer %s has the key of issuer %s, which was revoked, and cannot become %s", target.ID(), target.ended, to)
	}
	if to != Active && snap.defaults.Default == target.ID() {
		if err := s.defaults.Put(ctx, single, &Defaults{FollowsLatest: snap.defaults.FollowsLatest}); err != nil {
			return err
		}
	}
	next.State = to
	return s.records.Put(ctx, target.ID(), next)
}

func (s *Set) move(ctx context.Context, ref string, to State) (*Issuer, error) {
	var id string
	err := s.change(ctx, func(snap *snapshot) error {
		target, err := snap.get(ref)
		if err != nil {
			return err
		}
		id = target.ID()
		if target.State() == to {
			return nil
		}
		next := target.record
		return s.transit(ctx, snap, target, &next, to)
	})
	if err != nil {
		return nil, fmt.Errorf("moving issuer %s to %s: %w", ref, to, err)
	}
	return s.Get(ctx, id)
}
