package issue

import (
	"context"
	"crypto"
	"crypto/x509"
	"crypto/x509/pkix"
	"fmt"
	"strconv"
	"strings"
	"time"
	"unicode"

	"vault-plugin-secrets-enterprise-pki/backend/catalog"
	"vault-plugin-secrets-enterprise-pki/backend/cert"
	"vault-plugin-secrets-enterprise-pki/backend/fault"
	"vault-plugin-secrets-enterprise-pki/backend/issuer"
	"vault-plugin-secrets-enterprise-pki/backend/ledger"
	"vault-plugin-secrets-enterprise-pki/backend/lint"
	"vault-plugin-secrets-enterprise-pki/backend/profile"
	"vault-plugin-secrets-enterprise-pki/backend/role"
	"vault-plugin-secrets-enterprise-pki/backend/sign"
)

// CARequest says what a CA certificate shall be: the words of root/generate and
// root/sign-intermediate.
type CARequest struct {
	Subordinate // unused for a root
	Key         issuer.KeyChoice
	Name        string // issuer_name of a root
	Subject     pkix.Name
	Names       cert.Names
	Profile     profile.Config // kind root or subca, made from the request's fields
	TTL         time.Duration
	NotAfter    time.Time
	Mount       profile.Leases
}

// Subordinate is what only a request for a CA below another one says.
type Subordinate struct {
	Issuer string // who signs
	CSR    []byte
	UseCSR bool // use_csr_values: subject and names come from the CSR
	// ProfileName is name@version of the stored profile or preset that Profile is, ""
	// when the request spells out what it wants. The certificate remembers it.
	ProfileName string
	// SubjectKeyID is skid: the key identifier of a CA that has one already.
	SubjectKeyID []byte
}

// Root makes a self-signed CA inside the mount. The ledger knows of it before it is
// an issuer.
func (s *Service) Root(ctx context.Context, request CARequest, who role.Identity) (*issuer.Issuer, []string, error) {
	compiled, err := profile.New(profile.SpelledRoot, 0, request.Profile)
	if err != nil {
		return nil, nil, err
	}
	// Before a key is made and used: what is refused leaves nothing behind.
	if err := s.Issuers.CheckName(ctx, request.Name); err != nil {
		return nil, nil, err
	}
	key, signer, err := s.Issuers.Take(ctx, request.Key)
	if err != nil {
		return nil, nil, err
	}
	entry, draft, warnings, err := s.draftRoot(request, compiled, signer, who)
	if err != nil {
		s.Issuers.Discard(ctx, request.Key, key)
		return nil, nil, err
	}
	signed, err := s.redeemCA(ctx, entry, func() (*sign.Draft, error) { return draft, nil })
	if err != nil {
		return nil, nil, err
	}
	root, err := s.Issuers.AddRoot(ctx, request.Name, key.ID, signed)
	return root, warnings, err
}

// draftRoot takes a request for a root to a checked draft and its record.
func (s *Service) draftRoot(request CARequest, compiled *profile.Profile, signer crypto.Signer, who role.Identity) (*caEntry, *sign.Draft, []string, error) {
	planned, err := compiled.Template(profile.Ask{
		Subject: request.Subject, Names: request.Names, PublicKey: signer.Public(), TTL: request.TTL, NotAfter: request.NotAfter,
		EngineKey: true, Mount: request.Mount,
	}, s.Now())
	if err != nil {
		return nil, nil, nil, err
	}
	algorithm, err := compiled.Signature().Algorithm(signer.Public())
	if err != nil {
		return nil, nil, nil, err
	}
	entry, err := s.caRecord(planned.Certificate, signer.Public(), "", compiled, who)
	if err != nil {
		return nil, nil, nil, err
	}
	draft, err := sign.SelfDraft(planned.Certificate, signer, algorithm, lint.Check(catalog.LintPolicy(compiled)))
	return entry, draft, planned.Warnings, err
}

// SignIntermediate signs a CSR as a subordinate CA.
func (s *Service) SignIntermediate(ctx context.Context, request CARequest, who role.Identity) (*Result, error) {
	parent, err := s.Issuers.Get(ctx, request.Issuer)
	if err != nil {
		return nil, err
	}
	name, version, err := request.remembered()
	if err != nil {
		return nil, err
	}
	if !parent.PermitsProfile(name) {
		return nil, fault.New(fault.Denied, "issuer %s does not permit profile %s (permitted_profiles)", parent.ID(), name)
	}
	csr, err := cert.ParseCACSR(request.CSR)
	if err != nil {
		return nil, err
	}
	key, release, err := s.claim(ctx, "csr", csr.PublicKey, profile.KindSubCA)
	if err != nil {
		return nil, err
	}
	defer release()
	if key == parent.Key() {
		return nil, fault.Field("csr", "the public key is that of the signing issuer %s itself", parent.ID())
	}
	if request.UseCSR {
		if csr.NamesErr != nil {
			return nil, fault.Field("csr", "%w", csr.NamesErr)
		}
		request.Subject, request.Names = completed(csr.Subject, request.Subject), csr.Names
	}
	if limit := parent.Certificate().MaxPathLen; request.Profile.MaxPathLength < 0 && limit > 0 {
		request.Profile.MaxPathLength = limit - 1 // the parent's limit counts the new CA (RFC 5280 section 4.2.1.9)
	}
	compiled, err := profile.New(name, version, request.Profile)
	if err != nil {
		return nil, err
	}
	signed, warnings, err := s.signUnder(ctx, parent, compiled, profile.Ask{
		Subject: request.Subject, Names: request.Names, PublicKey: csr.PublicKey, TTL: request.TTL, NotAfter: request.NotAfter,
		SubjectKeyID: request.SubjectKeyID, Mount: request.Mount,
	}, who)
	if err != nil {
		return nil, err
	}
	if missing := profile.Missing(&csr.Subject, &signed.Subject); request.UseCSR && len(missing) > 0 {
		warnings = append(warnings, droppedAttributes(missing))
	}
	return &Result{Certificate: signed, Serial: cert.SerialOf(signed.SerialNumber), Issuer: parent, Warnings: warnings}, nil
}

// completed gives the subject of a CSR that has none what the request says: a CA must
// have a subject (RFC 5280 section 4.1.2.6), and some software asks for a CA with a URI
// alone.
func completed(csr, request pkix.Name) pkix.Name {
	if len(csr.Names) == 0 {
		return request
	}
	return csr
}

// remembered returns the profile and the version that the certificate remembers.
func (s *Subordinate) remembered() (name string, version int, err error) {
	if s.ProfileName == "" {
		return profile.SpelledSubCA, 0, nil
	}
	name, number, _ := strings.Cut(s.ProfileName, "@")
	if version, err = strconv.Atoi(number); err != nil {
		return "", 0, fault.New(fault.Internal, "signing a subordinate CA: profile %q is not name@version", s.ProfileName)
	}
	return name, version, nil
}

// Delegate certifies a responder key with the issuer's own key under the preset
// ocsp-responder (RFC 6960 section 4.2.2.2). A responder may have its key certified
// again.
func (s *Service) Delegate(ctx context.Context, parent *issuer.Issuer, pub crypto.PublicKey, validity time.Duration, who role.Identity) (*x509.Certificate, error) {
	_, release, err := s.claim(ctx, "csr", pub, profile.KindOCSP)
	if err != nil {
		return nil, err
	}
	defer release()
	config, _ := profile.Preset("ocsp-responder")
	compiled, err := profile.New("ocsp-responder", 0, config)
	if err != nil {
		return nil, err
	}
	subject := pkix.Name{CommonName: responderName(parent.Certificate().Subject.CommonName)}
	signed, _, err := s.signUnder(ctx, parent, compiled, profile.Ask{Subject: subject, PublicKey: pub, TTL: validity, EngineKey: true}, who)
	return signed, err
}

// maxCommonName is ub-common-name in characters (RFC 5280 appendix A.1).
const maxCommonName = 64

// responderName returns the common name of the responder of a CA. Nobody compares it, so
// a long one is cut; a CA's name never keeps it from having a responder.
func responderName(ca string) string {
	printable := strings.Map(func(r rune) rune {
		if r != unicode.ReplacementChar && unicode.IsPrint(r) {
			return r
		}
		return '?'
	}, ca)
	name := []rune("OCSP responder of " + printable)
	return strings.TrimSpace(string(name[:min(len(name), maxCommonName)]))
}

// signUnder signs a certificate that no role governs: a subordinate CA or a
// responder.
func (s *Service) signUnder(ctx context.Context, parent *issuer.Issuer, compiled *profile.Profile, ask profile.Ask, who role.Identity) (*x509.Certificate, []string, error) {
	use := issuer.Issuing
	if compiled.Kind() == profile.KindOCSP {
		use = issuer.OCSPSigning
	}
	if use == issuer.Issuing {
		if err := s.checkParent(parent); err != nil {
			return nil, nil, err
		}
	} else if err := parent.CheckUse(use); err != nil {
		return nil, nil, err
	}
	algorithm, err := compiled.Signature().Algorithm(parent.Certificate().PublicKey)
	if err != nil {
		return nil, nil, err
	}
	authority, err := s.Issuers.Authority(ctx, parent, use, algorithm)
	if err != nil {
		return nil, nil, err
	}
	ask.Issuer, ask.LeafNotAfter = parent.Certificate(), profile.LeafNotAfter(parent.Settings().LeafNotAfter)
	if use == issuer.OCSPSigning {
		ask.LeafNotAfter = profile.LeafTruncate // the responder of an ending CA ends with it
	}
	if ask.URLs, err = s.urls(ctx, parent); err != nil {
		return nil, nil, err
	}
	planned, err := compiled.Template(ask, s.Now())
	if err != nil {
		return nil, nil, err
	}
	record, err := s.caRecord(planned.Certificate, ask.PublicKey, parent.ID(), compiled, who)
	if err != nil {
		return nil, nil, err
	}
	if err := s.place(ctx, planned.Certificate, parent, compiled); err != nil {
		return nil, nil, err
	}
	signed, err := s.redeemCA(ctx, record, func() (*sign.Draft, error) {
		return authority.Draft(planned.Certificate, ask.PublicKey, parent.WithinChain(), lint.Check(catalog.LintPolicy(compiled)))
	})
	return signed, planned.Warnings, err
}

// caEntry is a record on a page of its own, before its certificate is signed.
type caEntry struct {
	page   *ledger.Page
	record ledger.Record
}

func (s *Service) caRecord(template *x509.Certificate, pub crypto.PublicKey, issuerID string, compiled *profile.Profile, who role.Identity) (*caEntry, error) {
	page, err := s.Ledger.NewPage(1)
	if err != nil {
		return nil, err
	}
	hash, err := cert.KeyFingerprint(pub)
	if err != nil {
		return nil, err
	}
	entry := &caEntry{page: page, record: ledger.Record{
		Serial: page.Serial(), Issuer: issuerID, Profile: compiled.Name(), Requester: who.EntityID, IssuedAt: s.Now(), KeyHash: hash,
	}}
	template.SerialNumber = entry.record.Serial.Big()
	return entry, nil
}

// redeemCA drafts, writes the intent, signs and records. For signatures with such
// reach "signed but unrecorded" must be impossible, so the intent is durable before
// the CA key is used: after a crash in between the ledger shows an intent without
// certificate, which fsck reports.
func (s *Service) redeemCA(ctx context.Context, entry *caEntry, drafted func() (*sign.Draft, error)) (*x509.Certificate, error) {
	draft, err := drafted()
	if err != nil {
		return nil, err
	}
	if err := s.Ledger.Intend(ctx, entry.page, entry.record); err != nil {
		return nil, fmt.Errorf("recording the intent to sign: %w", err)
	}
	signed, err := draft.Sign()
	if err != nil {
		return nil, err
	}
	entry.record.DER = signed.Raw
	if err := entry.page.Add(entry.record); err != nil {
		return nil, err
	}
	return signed, s.commit(ctx, entry.page)
}
