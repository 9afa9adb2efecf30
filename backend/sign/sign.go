// Package sign promises that the CA key signs nothing that was not checked first:
// a certificate is signed only by redeeming a draft, once, and a draft exists only
// after the exact octets to be signed have passed every check. No other package
// calls x509.Create*.
package sign

import (
	"crypto"
	"crypto/x509"
)

// Check inspects a drafted certificate, signed by a throwaway key, and refuses it
// with an error that names the rule.
type Check func(drafted, issuer *x509.Certificate) error

// Config says which CA signs.
type Config struct {
	Certificate *x509.Certificate
	Signer      crypto.Signer
	// Algorithm is the signature algorithm; zero picks the one that suits the key.
	Algorithm x509.SignatureAlgorithm
}

// Authority signs in the name of one CA certificate.
type Authority struct{}

// NewAuthority checks that the signer's public key is the certificate's and that
// the algorithm suits it.
func NewAuthority(config Config) (*Authority, error) { panic("not written") }

// Certificate returns the CA certificate.
func (a *Authority) Certificate() *x509.Certificate { panic("not written") }

// Draft drafts the template for the public key with a throwaway key of the CA
// key's type and runs the checks on the resulting octets.
func (a *Authority) Draft(template *x509.Certificate, pub crypto.PublicKey, checks ...Check) (*Draft, error) {
	panic("not written")
}

// SelfDraft drafts a self-signed certificate for the signer's own key: a root.
func SelfDraft(template *x509.Certificate, signer crypto.Signer, algorithm x509.SignatureAlgorithm, checks ...Check) (*Draft, error) {
	panic("not written")
}

// Draft is a checked certificate that the CA key has not signed yet.
type Draft struct{}

// Certificate returns the draft, signed by the throwaway key.
func (d *Draft) Certificate() *x509.Certificate { panic("not written") }

// Sign redeems the draft with the real key and proves that the signed TBS equals
// the draft's. A second call is refused.
func (d *Draft) Sign() (*x509.Certificate, error) { panic("not written") }

// TBS signs a to-be-signed structure (tbsCertList, tbsResponseData) with the CA
// key and returns its algorithm identifier (DER) and the signature.
// AlgorithmIdentifier returns the DER that will be needed inside the TBS itself.
func (a *Authority) TBS(digest func(hash crypto.Hash) []byte, message []byte) (signature []byte, err error) {
	panic("not written")
}

// Request makes a PKCS#10 certificate request signed by the key.
func Request(template *x509.CertificateRequest, signer crypto.Signer) ([]byte, error) {
	panic("not written")
}
