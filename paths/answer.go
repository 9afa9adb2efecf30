package paths

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/rsa"
	"crypto/x509"
	"encoding/base64"
	"encoding/json"
	"encoding/pem"
	"fmt"
	"strings"
	"time"

	"github.com/hashicorp/vault/sdk/logical"

	"vault-plugin-secrets-enterprise-pki/backend/cert"
	"vault-plugin-secrets-enterprise-pki/backend/issue"
	"vault-plugin-secrets-enterprise-pki/paths/schema"
)

// answerCertificate renders an issued certificate and, where the role asks for it,
// puts a lease on it.
func (m *mount) answerCertificate(call *schema.Call, result *issue.Result, form answerForm) (certificateAnswer, error) {
	warn(call, result.Warnings)
	chain := result.Issuer.Chain()
	answer := certificateAnswer{
		Certificate: form.render(result.Certificate.Raw),
		IssuingCA:   form.render(result.Issuer.Certificate().Raw),
		Chain:       form.renderAll(chain),
		Serial:      result.Serial.String(),
		AuthorityID: colons(result.Certificate.AuthorityKeyId),
		Expiration:  result.Certificate.NotAfter.Unix(),
		IssuerID:    result.Issuer.ID(),
	}
	if result.Role != nil {
		answer.Profile = result.Role.Profile().Name()
	}
	if result.Key != nil {
		if err := form.addKey(&answer, result.Key); err != nil {
			return certificateAnswer{}, err
		}
	}
	if form.Format == "pem_bundle" {
		answer.Certificate = bundle(answer)
	}
	if result.Role != nil && result.Role.LeasesCertificates() {
		m.lease(call, result)
	}
	return answer, nil
}

// lease puts a lease on the answer: Vault revokes the certificate when it ends.
func (m *mount) lease(call *schema.Call, result *issue.Result) {
	call.Edit(func(response *logical.Response) {
		internal := map[string]any{"serial_number": result.Serial.String()}
		leased := m.Secret(leaseType).Response(response.Data, internal)
		// The time that is left: notBefore lies in the past, and clients renew by this.
		leased.Secret.TTL = result.Certificate.NotAfter.Sub(m.now()).Truncate(time.Second)
		response.Secret = leased.Secret
	})
}

// render writes a certificate in the requested form.
func (f answerForm) render(der []byte) string {
	if f.Format == "der" {
		return base64DER(der)
	}
	return cert.CertificatePEM(der)
}

func (f answerForm) renderAll(chain []*x509.Certificate) []string {
	rendered := make([]string, 0, len(chain))
	for _, ca := range chain {
		if f.RemoveRoots && string(ca.RawSubject) == string(ca.RawIssuer) {
			continue
		}
		rendered = append(rendered, f.render(ca.Raw))
	}
	return rendered
}

// addKey puts the generated private key into the answer, in the forms of the
// built-in engine: the traditional one, or PKCS#8, which Ed25519 keys always have.
func (f answerForm) addKey(answer *certificateAnswer, key crypto.Signer) error {
	spec, err := cert.KeySpecOf(key.Public())
	if err != nil {
		return err
	}
	answer.PrivateType = string(spec.Type)
	block := &pem.Block{Type: "PRIVATE KEY"}
	switch private := key.(type) {
	case *rsa.PrivateKey:
		if f.KeyFormat != "pkcs8" {
			block.Type, block.Bytes = "RSA PRIVATE KEY", x509.MarshalPKCS1PrivateKey(private)
		}
	case *ecdsa.PrivateKey:
		if f.KeyFormat != "pkcs8" {
			block.Type = "EC PRIVATE KEY"
			block.Bytes, err = x509.MarshalECPrivateKey(private)
		}
	}
	if block.Bytes == nil && err == nil {
		block.Bytes, err = x509.MarshalPKCS8PrivateKey(key)
	}
	if err != nil {
		return fmt.Errorf("encoding the generated key: %w", err)
	}
	if f.Format == "der" {
		answer.PrivateKey = base64DER(block.Bytes)
		return nil
	}
	answer.PrivateKey = strings.TrimSpace(string(pem.EncodeToMemory(block)))
	return nil
}

// bundle is what pem_bundle puts into certificate: key, certificate, chain.
func bundle(answer certificateAnswer) string {
	parts := []string{}
	if answer.PrivateKey != "" {
		parts = append(parts, answer.PrivateKey)
	}
	return strings.Join(append(append(parts, answer.Certificate), answer.Chain...), "\n")
}

func base64DER(der []byte) string { return base64.StdEncoding.EncodeToString(der) }

func rfc3339(t time.Time) string {
	if t.IsZero() {
		return ""
	}
	return t.UTC().Format(time.RFC3339)
}

func warn(call *schema.Call, warnings []string) {
	for _, warning := range warnings {
		call.Warn("%s", warning)
	}
}

// asJSON shows a value that came out of schema.Encode.
func asJSON(value any) string {
	encoded, err := json.Marshal(value)
	if err != nil {
		return ""
	}
	return string(encoded)
}
