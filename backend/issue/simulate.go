package issue

import (
	"context"
	"crypto/x509"

	"vault-plugin-secrets-enterprise-pki/backend/catalog"
	"vault-plugin-secrets-enterprise-pki/backend/lint"
	"vault-plugin-secrets-enterprise-pki/backend/role"
)

// Simulation is what would be signed. Nothing was signed by the CA and nothing is
// recorded: the certificate carries a throwaway signature.
type Simulation struct {
	Draft    *x509.Certificate
	Findings []lint.Finding
	Warnings []string
	Profile  string
	Issuer   string
}

// Simulate takes a request through everything but the signature. Without a CSR a
// key is made and thrown away.
func (s *Service) Simulate(ctx context.Context, request Request, who role.Identity) (*Simulation, error) {
	page, err := s.Ledger.NewPage(1)
	if err != nil {
		return nil, err
	}
	c, err := s.prepare(ctx, request, who, page.Serial())
	if err != nil {
		return nil, err
	}
	defer c.release()
	findings, err := lint.Certificate(c.draft.Certificate(), c.issuer.Certificate(), catalog.LintPolicy(c.profile))
	if err != nil {
		return nil, err
	}
	return &Simulation{
		Draft: c.draft.Certificate(), Findings: findings, Warnings: c.warnings,
		Profile: c.profileName(), Issuer: c.issuer.ID(),
	}, nil
}
