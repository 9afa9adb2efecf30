// Package issue promises that a certificate leaves the engine only after the caller
// was authorized, the names and the template were granted by role and profile, the
// draft passed every lint, and the record is durable: in that order, for single
// requests, batches and CA certificates alike.
package issue

import (
	"context"
	"crypto"
	"crypto/x509"
	"sync"
	"time"

	"github.com/hashicorp/go-hclog"

	"vault-plugin-secrets-enterprise-pki/backend/catalog"
	"vault-plugin-secrets-enterprise-pki/backend/cert"
	"vault-plugin-secrets-enterprise-pki/backend/issuer"
	"vault-plugin-secrets-enterprise-pki/backend/keypool"
	"vault-plugin-secrets-enterprise-pki/backend/ledger"
	"vault-plugin-secrets-enterprise-pki/backend/places"
	"vault-plugin-secrets-enterprise-pki/backend/profile"
	"vault-plugin-secrets-enterprise-pki/backend/role"
)

// Caps on what a request may carry (dos-1).
const (
	MaxMetadata      = 64      // keys
	MaxMetadataValue = 1 << 10 // octets, of a key or a value
	MaxContacts      = 16
)

// Config says what a Service works on.
type Config struct {
	Catalog *catalog.Catalog
	Issuers *issuer.Set
	Ledger  *ledger.Ledger
	Keys    *keypool.Pool // of issue requests
	Lists   Lists
	Places  *places.Service
	Log     hclog.Logger
	Now     func() time.Time
}

// Lists places certificates on the CRLs of their issuers.
type Lists interface {
	// Place returns the CRL distribution points of a certificate: urls with CRLShard
	// replaced. Storage then knows that they must serve until the given time.
	Place(ctx context.Context, issuer string, serial cert.Serial, urls []string, until time.Time) ([]string, error)
}

// Service issues the certificates of one mount.
type Service struct {
	Config
	kinds  sync.Map // profile name@version -> its kind
	claims claims   // by owner
	uses   claims   // by kind of certificate
}

// New returns a service that has touched nothing.
func New(config Config) *Service { return &Service{Config: config} }

// Request asks for one end-entity certificate.
type Request struct {
	Role   string
	Issuer string // reference; "" for the role's issuer
	Named  string // reference that must be the issuer that signs; "" for any
	Names  role.Ask
	CSR    []byte // PEM or DER; nil when the engine makes the key
	// KeyType and KeyBits choose the key that the engine makes; "" and 0 leave the
	// choice to role and profile.
	KeyType string
	KeyBits int
	TTL     time.Duration // 0: by role and profile
	// NotAfter is an absolute end; zero: from TTL.
	NotAfter time.Time
	Note     Annotation
	Mount    profile.Leases
}

// Annotation is what the inventory remembers besides the certificate.
type Annotation struct {
	Owner    string
	Contacts []string
	Metadata map[string]string
	Replaces cert.Serial // predecessor, "" for none
}

// Result is one issued certificate.
type Result struct {
	Certificate *x509.Certificate
	Serial      cert.Serial
	Issuer      *issuer.Issuer
	Role        *role.Role
	Key         crypto.Signer // made by the engine; nil when a CSR brought the key
	Warnings    []string
}

// Outcome is the answer to one request of a batch: a Result or an error.
type Outcome struct {
	Result *Result
	Err    error
}

// commitTimeout bounds how long a signed certificate waits for storage.
const commitTimeout = 30 * time.Second

// Issue generates a key and issues a certificate for it. The key is returned once
// and kept nowhere.
func (s *Service) Issue(ctx context.Context, request Request, who role.Identity) (*Result, error) {
	request.CSR = nil
	return s.one(ctx, request, who)
}

// Sign issues a certificate for the key of a CSR.
func (s *Service) Sign(ctx context.Context, request Request, who role.Identity) (*Result, error) {
	if len(request.CSR) == 0 {
		return nil, missingCSR()
	}
	return s.one(ctx, request, who)
}

func (s *Service) one(ctx context.Context, request Request, who role.Identity) (*Result, error) {
	page, err := s.Ledger.NewPage(1)
	if err != nil {
		return nil, err
	}
	candidate, err := s.prepare(ctx, request, who, page.Serial())
	if err != nil {
		return nil, err
	}
	defer candidate.release()
	if err := candidate.redeem(); err != nil {
		return nil, err
	}
	if candidate.profile.NoStore() {
		s.Ledger.Note(candidate.record)
		return candidate.result(), nil
	}
	if err := page.Add(candidate.record); err != nil {
		return nil, err
	}
	if err := s.commit(ctx, page); err != nil {
		return nil, err
	}
	return candidate.result(), nil
}

// commit makes a page durable even when the client has gone meanwhile: the
// certificate exists, and must be known should the client have seen it.
func (s *Service) commit(ctx context.Context, page *ledger.Page) error {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), commitTimeout)
	defer cancel()
	return s.Ledger.Commit(ctx, page)
}
