package ocsp

import (
	"context"
	"crypto"
	"crypto/x509"
	"fmt"

	"vault-plugin-secrets-enterprise-pki/backend/fault"
)

// load reads the stored responder of a CA; nil when there is none that can be
// used.
func (r *Responder) load(ctx context.Context, id string, ca *x509.Certificate) (*delegate, error) {
	former, err := r.config.Source.Former(ctx, id)
	if err != nil {
		return nil, err
	}
	for _, name := range append([]string{id}, former...) {
		stored, err := r.records.Get(ctx, name)
		if err != nil {
			return nil, err
		}
		if stored == nil {
			continue
		}
		d, err := stored.open(ca)
		if err != nil {
			r.config.Log.Warn("stored OCSP responder cannot be used and is replaced", "issuer", name, "error", err)
			continue
		}
		if name != id { // of an earlier release: it moves to the CA
			d.unsaved, d.former = true, name
		}
		return d, nil
	}
	return nil, nil
}

// open returns the responder that a record describes.
func (s *record) open(ca *x509.Certificate) (*delegate, error) {
	certificate, err := x509.ParseCertificate(s.Certificate)
	if err != nil {
		return nil, fmt.Errorf("reading responder certificate: %w", err)
	}
	key, err := x509.ParsePKCS8PrivateKey(s.Key)
	if err != nil {
		// The cause could quote key material.
		return nil, fault.New(fault.Internal, "reading responder key: malformed PKCS#8")
	}
	signer, ok := key.(crypto.Signer)
	if !ok {
		return nil, fault.New(fault.Internal, "reading responder key: a %T cannot sign", key)
	}
	return newDelegate(certificate, ca, signer)
}
