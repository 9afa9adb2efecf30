package sign

import (
	"crypto"
	"crypto/x509"

	"vault-plugin-secrets-enterprise-pki/backend/cert"
	"vault-plugin-secrets-enterprise-pki/backend/fault"
)

// Config says which CA signs.
type Config struct {
	Certificate *x509.Certificate
	Signer      crypto.Signer
	// Algorithm is the signature algorithm; zero picks the one that suits the key.
	Algorithm x509.SignatureAlgorithm
}

// Authority signs in the name of one certificate: a CA, or a delegated OCSP
// responder, which can only Stream. It is immutable and safe for concurrent use.
type Authority struct {
	certificate *x509.Certificate
	signer      crypto.Signer
	algorithm   x509.SignatureAlgorithm
}

// NewAuthority checks that the signer's public key is the certificate's and that
// the algorithm suits it.
func NewAuthority(config Config) (*Authority, error) {
	if config.Certificate == nil || config.Signer == nil {
		return nil, fault.New(fault.Internal, "making authority: certificate and signer must be given")
	}
	if !cert.Equal(config.Signer.Public(), config.Certificate.PublicKey) {
		return nil, fault.New(fault.Conflict, "making authority of %s: the signer's key is not the certificate's",
			cert.SerialOf(config.Certificate.SerialNumber))
	}
	algorithm, err := choose(config.Certificate.PublicKey, config.Algorithm)
	if err != nil {
		return nil, err
	}
	return &Authority{certificate: config.Certificate, signer: config.Signer, algorithm: algorithm}, nil
}

// Certificate returns the certificate in whose name the authority signs.
func (a *Authority) Certificate() *x509.Certificate { return a.certificate }

// Algorithm returns the signature algorithm.
func (a *Authority) Algorithm() x509.SignatureAlgorithm { return a.algorithm }

// AlgorithmIdentifier returns the DER of the signature algorithm as it stands inside
// what is signed and beside the signature, PSS parameters included.
func (a *Authority) AlgorithmIdentifier() ([]byte, error) {
	return algorithms[a.algorithm].identifier()
}

// mayIssue refuses to draft under a certificate that is no CA (RFC 5280 sections
// 4.2.1.3 and 4.2.1.9).
func (a *Authority) mayIssue() error {
	issuer := a.certificate
	if !issuer.BasicConstraintsValid || !issuer.IsCA {
		return fault.New(fault.Conflict, "issuer %s must be a CA certificate", cert.SerialOf(issuer.SerialNumber))
	}
	if issuer.KeyUsage&x509.KeyUsageCertSign == 0 {
		return fault.New(fault.Conflict, "issuer %s must have key usage keyCertSign", cert.SerialOf(issuer.SerialNumber))
	}
	return nil
}
