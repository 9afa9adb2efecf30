package sign

import (
	"crypto"
	"crypto/rand"
	"crypto/x509"

	"vault-plugin-secrets-enterprise-pki/backend/fault"
)

// Request makes a PKCS#10 certificate request in DER, signed by the key and verified.
// A zero SignatureAlgorithm picks the one that suits the key.
func Request(template *x509.CertificateRequest, signer crypto.Signer) ([]byte, error) {
	algorithm, err := choose(signer.Public(), template.SignatureAlgorithm)
	if err != nil {
		return nil, err
	}
	complete := *template
	complete.SignatureAlgorithm = algorithm
	der, err := x509.CreateCertificateRequest(rand.Reader, &complete, signer)
	if err != nil {
		return nil, fault.New(fault.KindOf(err), "making certificate request: %w", err)
	}
	csr, err := x509.ParseCertificateRequest(der)
	if err != nil {
		return nil, fault.New(fault.Internal, "reading certificate request: %w", err)
	}
	if err := csr.CheckSignature(); err != nil {
		return nil, fault.New(fault.Internal, "certificate request: the key's signature is wrong: %w", err)
	}
	return der, nil
}
