package issuer

import (
	"bytes"
	"crypto/x509"
	"encoding/pem"
	"strings"

	"vault-plugin-secrets-enterprise-pki/backend/cert"
	"vault-plugin-secrets-enterprise-pki/backend/fault"
	"vault-plugin-secrets-enterprise-pki/backend/keyring"
)

// splitBundle separates certificates from private keys, with caps and key refusal
// before anything else.
func splitBundle(request ImportRequest) ([]*x509.Certificate, []privateKey, error) {
	if len(request.PEM) > cert.MaxBundle {
		return nil, nil, fault.FieldOf(fault.TooLarge, request.field(), "must be at most %d octets", cert.MaxBundle)
	}
	field := request.field()
	input, err := cert.Decode(field, request.PEM)
	if err != nil {
		return nil, nil, fault.FieldOf(fault.Invalid, field, "%w", err)
	}
	keys, rest, err := privateKeys(input, request)
	if err != nil {
		return nil, nil, err
	}
	if len(rest) == 0 && len(keys) > 0 {
		return nil, keys, nil
	}
	certs, others, err := cert.ParseCertificates(rest)
	if err == nil && len(others) > 0 {
		err = cert.NotCertificates(others)
	}
	if err != nil {
		return nil, nil, fault.FieldOf(fault.KindOf(err), field, "%w", err)
	}
	if len(certs) > maxCertificates {
		return nil, nil, fault.FieldOf(fault.TooLarge, field, "must hold at most %d certificates, not %d", maxCertificates, len(certs))
	}
	return certs, keys, nil
}

// privateKeys takes the private keys out of a bundle in PEM and returns the rest.
func privateKeys(input []byte, request ImportRequest) ([]privateKey, []byte, error) {
	if !bytes.Contains(input, []byte("-----BEGIN ")) { // DER has no keys here
		return nil, input, nil
	}
	field := request.field()
	var keys []privateKey
	var rest bytes.Buffer
	blocks := 0
	for data := input; ; blocks++ {
		block, next := pem.Decode(data)
		if block == nil {
			break
		}
		data = next
		if block.Type == "EC PARAMETERS" { // openssl ecparam -genkey writes them before the key
			continue
		}
		if !strings.HasSuffix(block.Type, "PRIVATE KEY") {
			_ = pem.Encode(&rest, &pem.Block{Type: block.Type, Bytes: block.Bytes})
			continue
		}
		if !request.AllowKeys {
			return nil, nil, fault.Field(field, "holds a private key; only certificates are taken here, use issuers/import/bundle for keys")
		}
		text := pem.EncodeToMemory(block)
		if err := keyring.CheckImport(text); err != nil {
			return nil, nil, err
		}
		key, err := keyring.ParsePrivateKey(text)
		if err != nil {
			return nil, nil, err
		}
		public, err := cert.KeyFingerprint(key.Public())
		if err != nil {
			return nil, nil, err
		}
		keys = append(keys, privateKey{text, public})
	}
	if blocks != bytes.Count(input, []byte("-----BEGIN ")) { // pem.Decode passes over what it cannot read
		return nil, nil, fault.Field(field, "holds a damaged PEM block")
	}
	return keys, rest.Bytes(), nil
}
