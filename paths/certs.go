package paths

import (
	"context"
	"crypto/x509"
	"encoding/pem"
	"fmt"
	"strings"
	"time"

	"github.com/hashicorp/vault/sdk/framework"

	"vault-plugin-secrets-enterprise-pki/backend/cert"
	"vault-plugin-secrets-enterprise-pki/backend/crl"
	"vault-plugin-secrets-enterprise-pki/backend/fault"
	"vault-plugin-secrets-enterprise-pki/backend/issuer"
	"vault-plugin-secrets-enterprise-pki/backend/ledger"
	"vault-plugin-secrets-enterprise-pki/paths/schema"
)

const certHelp = `
A certificate is identified by its serial number: hexadecimal in upper or lower case,
with colons, hyphens, spaces or nothing between the bytes, with or without 0x or the
first zero. ca and ca_chain are those of the default issuer. crl is its newest CRL.
`

type certRef struct {
	Serial string `json:"serial" in:"path" max:"128" doc:"Serial number of the certificate."`
}

type certAnswer struct {
	Certificate       string `json:"certificate" doc:"The certificate in PEM."`
	Serial            string `json:"serial_number" doc:"Serial number."`
	RevocationTime    int64  `json:"revocation_time" doc:"When it was revoked, seconds since 1970; 0 when it is not revoked."`
	RevocationRFC3339 string `json:"revocation_time_rfc3339" doc:"When it was revoked, RFC 3339; empty when it is not revoked."`
	RevocationReason  string `json:"revocation_reason,omitempty" doc:"Why it was revoked, in the words of RFC 5280."`
	AuthorityID       string `json:"authority_key_id" doc:"Key identifier of the issuer, hexadecimal with colons."`
	IssuerID          string `json:"issuer_id" doc:"Id of the issuer, empty for a CA whose issuer is not in the mount."`
	IssuerName        string `json:"issuer_name,omitempty" doc:"Name of the issuer; absent when it has none."`
	State             string `json:"state" doc:"active, suspended, revoked or expired."`
	Expires           string `json:"not_after" doc:"When it expires, RFC 3339."`
	KeyHash           string `json:"key_sha256" doc:"SHA-256 of the SubjectPublicKeyInfo, hexadecimal with colons; empty for a key of an unknown algorithm."`
}

// pemAnswer is a well-known object as cert/:serial answers it.
type pemAnswer struct {
	Certificate string `json:"certificate" doc:"The object in PEM."`
	wellKnown
}

// wellKnown is what cert/:serial says of every object, also of those that are never
// revoked there.
type wellKnown struct {
	RevocationTime    int64  `json:"revocation_time" doc:"Always 0."`
	RevocationRFC3339 string `json:"revocation_time_rfc3339" doc:"Always empty."`
	AuthorityID       string `json:"authority_key_id,omitempty" doc:"Key identifier of the parent CA, hexadecimal with colons; absent for a CRL."`
}

type chainAnswer struct {
	Chain       string `json:"ca_chain" doc:"Certificates from the default issuer up to the root, in PEM."`
	Certificate string `json:"certificate" doc:"The same."`
	wellKnown
}

func (m *mount) certPaths() []*framework.Path {
	return []*framework.Path{
		schema.Path("certs/?", "List the certificates.", certHelp,
			schema.List("List the serial numbers of all certificates, oldest first, with details of the first 10,000.", m.listCerts)),
		schema.Path("certs/revoked/?", "List the revoked certificates.", certHelp,
			schema.List("List the serial numbers of all revoked certificates, oldest first, with details of the first 10,000.", m.listRevoked)),
		schema.Path("certs/record/"+schema.Segment("serial"), "Read what is on record about a certificate.", recordHelp,
			schema.Read("Read what is on record about a certificate.", m.readRecord)),
		schema.Path("cert/ca", "Read the default issuer's certificate.", certHelp,
			schema.Read("Read the certificate.", m.readCA)),
		schema.Path("cert/ca/raw", "Fetch the default issuer's certificate in DER.", certHelp,
			schema.Read("Fetch the certificate in DER.", m.fetchCA)),
		schema.Path("cert/ca/raw/pem", "Fetch the default issuer's certificate in PEM.", certHelp,
			schema.Read("Fetch the certificate in PEM.", m.fetchCAPEM)),
		schema.Path("cert/ca_chain", "Read the default issuer's chain.", certHelp,
			schema.Read("Read the chain.", m.readChain)),
		schema.Path("cert/crl", "Read the default issuer's CRL.", certHelp,
			schema.Read("Read the CRL in PEM.", m.readCertList(crl.Complete))),
		schema.Path("cert/crl/raw", "Fetch the default issuer's CRL in DER.", certHelp,
			schema.Read("Fetch the CRL in DER.", m.fetchDefault(crl.Complete, asDER))),
		schema.Path("cert/crl/raw/pem", "Fetch the default issuer's CRL in PEM.", certHelp,
			schema.Read("Fetch the CRL in PEM.", m.fetchDefault(crl.Complete, asPEM))),
		schema.Path("cert/delta-crl", "Read the default issuer's delta CRL.", certHelp,
			schema.Read("Read the delta CRL in PEM.", m.readCertList(crl.Delta))),
		schema.Path("cert/delta-crl/raw", "Fetch the default issuer's delta CRL in DER.", certHelp,
			schema.Read("Fetch the delta CRL in DER.", m.fetchDefault(crl.Delta, asDER))),
		schema.Path("cert/delta-crl/raw/pem", "Fetch the default issuer's delta CRL in PEM.", certHelp,
			schema.Read("Fetch the delta CRL in PEM.", m.fetchDefault(crl.Delta, asPEM))),
		schema.Path("cert/"+schema.Segment("serial"), "Read a certificate.", certHelp,
			schema.Read("Read a certificate and whether it is revoked.", m.readCert)),
		schema.Path("cert/"+schema.Segment("serial")+"/raw", "Fetch a certificate in DER.", certHelp,
			schema.Read("Fetch a certificate in DER.", m.fetchCert)),
		schema.Path("cert/"+schema.Segment("serial")+"/raw/pem", "Fetch a certificate in PEM.", certHelp,
			schema.Read("Fetch a certificate in PEM.", m.fetchCertPEM)),
		schema.Path("ca", "Fetch the default issuer's certificate in DER.", certHelp,
			schema.Read("Fetch the certificate in DER; empty if there is no issuer.", m.fetchCA)),
		schema.Path("ca/pem", "Fetch the default issuer's certificate in PEM.", certHelp,
			schema.Read("Fetch the certificate in PEM; empty if there is no issuer.", m.fetchCAPEM)),
		schema.Path("ca_chain", "Fetch the default issuer's chain in PEM.", certHelp,
			schema.Read("Fetch the chain in PEM; empty if there is no issuer.", m.fetchChain)),
	}
}

func (m *mount) listCerts(_ context.Context, call *schema.Call, in schema.Page) (certList, error) {
	return m.listRows(call, in, m.engine.Ledger.Rows)
}

func (m *mount) listRevoked(_ context.Context, call *schema.Call, in schema.Page) (certList, error) {
	return m.listRows(call, in, m.engine.Ledger.RevokedRows)
}

// found is a certificate of the ledger or a CA certificate that was imported.
type found struct {
	der        []byte
	serial     cert.Serial
	issuer     string
	revocation *ledger.Revocation
}

func (m *mount) findCert(ctx context.Context, text string) (found, error) {
	serial, err := cert.ParseSerial(text)
	if err != nil {
		return found{}, err
	}
	record, err := m.engine.Ledger.Get(ctx, serial)
	if err == nil {
		return found{der: record.DER, serial: serial, issuer: record.Issuer, revocation: record.Revocation}, nil
	}
	if !fault.Is(err, fault.NotFound) {
		return found{}, err
	}
	for _, i := range m.engine.Issuers.Loaded() {
		if i.Serial() == serial {
			imported := found{der: i.Certificate().Raw, serial: serial}
			if parent := i.Parent(); parent != nil {
				imported.issuer = parent.ID()
			}
			return imported, nil
		}
	}
	return found{}, err
}

func (m *mount) readCert(ctx context.Context, _ *schema.Call, in certRef) (certAnswer, error) {
	c, err := m.findCert(ctx, in.Serial)
	if err != nil {
		return certAnswer{}, err
	}
	answer := certAnswer{Certificate: cert.CertificatePEM(c.der), Serial: c.serial.String(), IssuerID: c.issuer}
	parsed, err := x509.ParseCertificate(c.der)
	if err != nil {
		return certAnswer{}, fmt.Errorf("reading certificate %s: %w", c.serial, err)
	}
	answer.AuthorityID = colons(parsed.AuthorityKeyId)
	answer.Expires = rfc3339(parsed.NotAfter)
	if key, err := cert.KeyFingerprint(parsed.PublicKey); err == nil { // of imported CAs any key may be there
		answer.KeyHash = key.String()
	}
	answer.IssuerName, answer.State = m.issuerName(c.issuer), m.stateOf(parsed.NotAfter, c.revocation)
	if r := c.revocation; r != nil {
		answer.RevocationTime, answer.RevocationRFC3339 = r.At.Unix(), r.At.UTC().Format(time.RFC3339Nano)
		answer.RevocationReason = r.Reason.String()
	}
	return answer, nil
}

func (m *mount) fetchCert(ctx context.Context, _ *schema.Call, in certRef) (schema.Raw, error) {
	c, err := m.findCert(ctx, in.Serial)
	return schema.Raw{ContentType: derType, Body: c.der}, err
}

func (m *mount) fetchCertPEM(ctx context.Context, _ *schema.Call, in certRef) (schema.Raw, error) {
	c, err := m.findCert(ctx, in.Serial)
	return schema.Raw{ContentType: pemType, Body: []byte(cert.CertificatePEM(c.der))}, err
}

// defaultIssuer returns the default issuer, or nil when there is none.
func (m *mount) defaultIssuer(ctx context.Context) (*issuer.Issuer, error) {
	i, err := m.engine.Issuers.Get(ctx, issuer.DefaultRef)
	if fault.Is(err, fault.NotFound) || err == nil && i.Certificate() == nil {
		return nil, nil
	}
	return i, err
}

func describe(i *issuer.Issuer) wellKnown {
	return wellKnown{AuthorityID: colons(i.Certificate().AuthorityKeyId)}
}

func (m *mount) readCA(ctx context.Context, _ *schema.Call, _ schema.None) (*pemAnswer, error) {
	i, err := m.defaultIssuer(ctx)
	if i == nil {
		return nil, err
	}
	return &pemAnswer{Certificate: cert.CertificatePEM(i.Certificate().Raw), wellKnown: describe(i)}, nil
}

func (m *mount) fetchCA(ctx context.Context, _ *schema.Call, _ schema.None) (schema.Raw, error) {
	i, err := m.defaultIssuer(ctx)
	if i == nil {
		return nothing(derType), err
	}
	return schema.Raw{ContentType: derType, Body: i.Certificate().Raw}, nil
}

func (m *mount) fetchCAPEM(ctx context.Context, _ *schema.Call, _ schema.None) (schema.Raw, error) {
	i, err := m.defaultIssuer(ctx)
	if i == nil {
		return nothing(pemType), err
	}
	return schema.Raw{ContentType: pemType, Body: []byte(cert.CertificatePEM(i.Certificate().Raw))}, nil
}

func (m *mount) readChain(ctx context.Context, _ *schema.Call, _ schema.None) (*chainAnswer, error) {
	i, err := m.defaultIssuer(ctx)
	if i == nil {
		return nil, err
	}
	chain := chainPEM(i)
	return &chainAnswer{Chain: chain, Certificate: chain, wellKnown: describe(i)}, nil
}

func (m *mount) fetchChain(ctx context.Context, _ *schema.Call, _ schema.None) (schema.Raw, error) {
	i, err := m.defaultIssuer(ctx)
	if i == nil {
		return nothing(pemType), err
	}
	return schema.Raw{ContentType: pemType, Body: []byte(chainPEM(i))}, nil
}

func chainPEM(i *issuer.Issuer) string {
	return strings.Join(answerForm{}.renderAll(i.Chain()), "\n")
}

func pemBlock(kind string, der []byte) string {
	return strings.TrimSpace(string(pem.EncodeToMemory(&pem.Block{Type: kind, Bytes: der})))
}
