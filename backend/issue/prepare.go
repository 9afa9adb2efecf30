package issue

import (
	"context"
	"crypto"
	"crypto/x509"
	"fmt"
	"strings"

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

// candidate is a certificate that passed every check and is not signed yet.
type candidate struct {
	role     *role.Role
	profile  *profile.Profile
	issuer   *issuer.Issuer
	key      crypto.Signer // made by the engine, or nil
	draft    *sign.Draft
	record   ledger.Record
	signed   *x509.Certificate
	warnings []string
	release  func() // ends what the candidate claims; once, and not before it is on record
}

func missingCSR() error { return fault.Field("csr", "must not be empty") }

// prepare takes a request through role, profile and lints to a draft. It reads
// snapshots only: no storage operation once they are loaded. The caller releases the
// candidate.
func (s *Service) prepare(ctx context.Context, request Request, who role.Identity, serial cert.Serial) (*candidate, error) {
	c := &candidate{release: func() {}}
	if err := s.complete(ctx, c, request, who, serial); err != nil {
		c.release()
		return nil, err
	}
	return c, nil
}

// complete is prepare for a candidate that the caller releases after a refusal.
func (s *Service) complete(ctx context.Context, c *candidate, request Request, who role.Identity, serial cert.Serial) (err error) {
	s.Keys.Touch()
	c.role, err = s.Catalog.Role(ctx, request.Role)
	if fault.Is(err, fault.NotFound) {
		// The path exists, its role does not: clients of the built-in engine expect 400.
		return fault.Field("role", "%w", err)
	}
	if err != nil {
		return err
	}
	c.profile = c.role.Profile()
	if err := c.role.Authorize(who); err != nil {
		return err
	}
	if err := checkAnnotation(request.Note); err != nil {
		return err
	}
	if request.Note.Owner, err = c.role.Accountable(request.Note.Owner, request.Note.Metadata); err != nil {
		return err
	}
	authority, err := s.findIssuer(ctx, request, c)
	if err != nil {
		return err
	}
	template, pub, err := s.template(ctx, request, who, c)
	if err != nil {
		return err
	}
	keyHash, err := s.checkKeyUse(ctx, pub, c, request.Note.Owner)
	if err != nil {
		return err
	}
	template.SerialNumber = serial.Big()
	if err := s.place(ctx, template, c.issuer, c.profile); err != nil {
		return err
	}
	c.draft, err = authority.Draft(template, pub, c.issuer.WithinChain(), lint.Check(catalog.LintPolicy(c.profile)))
	if err != nil {
		return err
	}
	c.record = ledger.Record{
		Serial: serial, Issuer: c.issuer.ID(), Role: c.role.Name(), Profile: c.profileName(), Requester: who.EntityID,
		Owner: request.Note.Owner, Contacts: request.Note.Contacts, Metadata: request.Note.Metadata,
		Replaces: request.Note.Replaces, IssuedAt: s.Now(), KeyHash: keyHash,
	}
	return nil
}

// findIssuer picks the issuer and its authority, signing as the profile says.
func (s *Service) findIssuer(ctx context.Context, request Request, c *candidate) (*sign.Authority, error) {
	ref := request.Issuer
	if ref == "" {
		ref = c.role.IssuerRef()
	}
	var err error
	if c.issuer, err = s.Issuers.Get(ctx, ref); err != nil {
		return nil, err
	}
	if err := s.checkNamed(ctx, request, c.issuer); err != nil {
		return nil, err
	}
	profileName, _, _ := strings.Cut(c.profileName(), "@")
	if !c.issuer.PermitsProfile(profileName) {
		return nil, fault.New(fault.Denied, "issuer %s does not permit profile %s (permitted_profiles)", c.issuer.ID(), profileName)
	}
	if err := s.checkParent(c.issuer); err != nil {
		return nil, err
	}
	algorithm, err := c.profile.Signature().Algorithm(c.issuer.Certificate().PublicKey)
	if err != nil {
		return nil, err
	}
	return s.Issuers.Authority(ctx, c.issuer, issuer.Issuing, algorithm)
}

// checkNamed refuses a request that names another issuer than the one that signs: a
// request chooses its issuer by its path, which an ACL sees (authz-2).
func (s *Service) checkNamed(ctx context.Context, request Request, signs *issuer.Issuer) error {
	if request.Named == "" {
		return nil
	}
	named, err := s.Issuers.Get(ctx, request.Named)
	if err != nil && !fault.Is(err, fault.NotFound) {
		return err
	}
	if err != nil || named.ID() != signs.ID() {
		return fault.Field("issuer_ref", "%s is not the issuer that signs here, which is %s; send the request to issuer/%s/sign/%s or issuer/%s/issue/%s to choose it",
			request.Named, signs.ID(), request.Named, request.Role, request.Named, request.Role)
	}
	return nil
}

// profileName returns name@version, or role:NAME for a role without a profile.
func (c *candidate) profileName() string {
	if name := c.profile.Name(); name != "" {
		return name
	}
	return "role:" + c.role.Name()
}

// template asks the role for the names and the profile for the template. The key is
// made last, when nothing but its own rules can refuse it.
func (s *Service) template(ctx context.Context, request Request, who role.Identity, c *candidate) (*x509.Certificate, crypto.PublicKey, error) {
	ask := profile.Ask{EngineKey: true}
	if len(request.CSR) > 0 {
		csr, err := cert.ParseCSR(request.CSR)
		if err != nil {
			return nil, nil, err
		}
		request.Names.CSR, ask = csr, profile.AskOf(csr)
	}
	ask.TTL, ask.NotAfter = request.TTL, request.NotAfter
	ask.Mount = request.Mount
	var err error
	if ask.Subject, ask.Names, err = c.role.Names(request.Names, who); err != nil {
		return nil, nil, err
	}
	if csr := request.Names.CSR; csr != nil {
		if extra := c.role.Extra(csr, &ask.Subject); len(extra) > 0 {
			c.warnings = append(c.warnings, droppedAttributes(extra))
		}
	}
	ask.Issuer = c.issuer.Certificate()
	ask.LeafNotAfter = profile.LeafNotAfter(c.issuer.Settings().LeafNotAfter)
	if ask.URLs, err = s.urls(ctx, c.issuer); err != nil {
		return nil, nil, err
	}
	if ask.EngineKey {
		if c.key, err = s.makeKey(ctx, c, request); err != nil {
			return nil, nil, err
		}
		ask.PublicKey = c.key.Public()
	}
	planned, err := c.profile.Template(ask, s.Now())
	if err != nil {
		return nil, nil, err
	}
	c.warnings = append(c.warnings, planned.Warnings...)
	return planned.Certificate, ask.PublicKey, nil
}

func droppedAttributes(names []string) string {
	return "the CSR asked for subject attributes that the certificate does not have: " + strings.Join(names, ", ")
}

// makeKey generates the key of an issue request: the algorithm asked for when role
// and profile allow it, otherwise their first.
func (s *Service) makeKey(ctx context.Context, c *candidate, request Request) (crypto.Signer, error) {
	spec, err := c.role.EngineKey(request.KeyType, request.KeyBits)
	if err != nil {
		return nil, err
	}
	key, err := s.Keys.Take(ctx, spec)
	if err != nil {
		return nil, fmt.Errorf("making %s key: %w", spec, err)
	}
	return key, nil
}

// checkKeyUse sends a key that a request brought through the gate, and refuses one that
// another owner uses where the profile wants keys to be unique. A key that was made for
// this request has no history.
func (s *Service) checkKeyUse(ctx context.Context, pub crypto.PublicKey, c *candidate, owner string) (cert.Fingerprint, error) {
	if c.key != nil {
		return cert.KeyFingerprint(pub)
	}
	hash, release, err := s.claim(ctx, "csr", pub, c.profile.Kind())
	if err != nil {
		return hash, err
	}
	c.release = release
	if !c.profile.UniqueKey() {
		return hash, nil
	}
	claimed := s.claims.take(hash, owner)
	if claimed {
		c.release = func() {
			s.claims.release(hash)
			release()
		}
	}
	taken, err := s.Ledger.OtherOwner(hash, owner)
	if err != nil {
		return hash, err
	}
	if taken || !claimed {
		return hash, fault.Field("csr", "the key is in use by another owner and profile %s wants unique keys (unique_key)", c.profileName())
	}
	return hash, nil
}

// drafted returns the record with the draft's octets, which are as long as those of
// the certificate to be, for the question whether the page has room.
func (c *candidate) drafted() ledger.Record {
	record := c.record
	record.DER = c.draft.Certificate().Raw
	return record
}

// redeem signs the draft with the CA key and completes the record.
func (c *candidate) redeem() error {
	signed, err := c.draft.Sign()
	if err != nil {
		return fmt.Errorf("signing with issuer %s: %w", c.issuer.ID(), err)
	}
	c.signed, c.record.DER = signed, signed.Raw
	return nil
}

func (c *candidate) result() *Result {
	return &Result{
		Certificate: c.signed, Serial: c.record.Serial, Issuer: c.issuer, Role: c.role, Key: c.key, Warnings: c.warnings,
	}
}

func checkAnnotation(note Annotation) error {
	if len(note.Owner) > ledger.MaxText {
		return fault.Field("owner", "must be at most %d bytes", ledger.MaxText)
	}
	if len(note.Metadata) > MaxMetadata {
		return fault.Field("metadata", "must have at most %d keys", MaxMetadata)
	}
	for key, value := range note.Metadata {
		if key == "" || len(key) > MaxMetadataValue || len(value) > MaxMetadataValue {
			return fault.Field("metadata", "keys and values must be 1 to %d bytes", MaxMetadataValue)
		}
	}
	if len(note.Contacts) > MaxContacts {
		return fault.Field("contacts", "must be at most %d", MaxContacts)
	}
	for _, contact := range note.Contacts {
		if len(contact) > MaxMetadataValue {
			return fault.Field("contacts", "each must be at most %d bytes", MaxMetadataValue)
		}
	}
	return nil
}
