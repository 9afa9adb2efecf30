package paths

import (
	"context"
	"crypto/x509/pkix"

	"vault-plugin-secrets-enterprise-pki/backend/cert"
	"vault-plugin-secrets-enterprise-pki/backend/issuer"
	"vault-plugin-secrets-enterprise-pki/backend/profile"
	"vault-plugin-secrets-enterprise-pki/paths/schema"
)

// requestBody is what a request for a CA certificate holds besides its key.
type requestBody struct {
	caSubject
	caForm
	Name                string   `json:"issuer_name" kind:"name" doc:"Name of the issuer to be."`
	Profile             string   `json:"profile" doc:"Profile, of kind subca, that the certificate shall conform to, as name or name@version." max:"160"`
	AddBasicConstraints bool     `json:"add_basic_constraints" doc:"Whether the CSR asks for CA:TRUE, for parent CAs that require it."`
	KeyUsage            []string `json:"key_usage" doc:"Key usages that the request asks for; empty for none."`
	SubjectEncoding     string   `json:"subject_encoding" enum:"printable|utf8" default:"printable" doc:"String type of the CSR's subject: printable for PrintableString, utf8 for UTF8String. openssl ca with policy_match requires the type that its root has."`
	SignatureBits       int      `json:"signature_bits" enum:"0|256|384|512" default:"0" doc:"Bits of the SHA-2 hash with which an RSA key signs the request; 0 for 256."`
	signersChoice
}

// signersChoice is what a request cannot say. Clients that make and sign a request in
// one go (vault pki issue) send it to both sides, so it is taken with a warning.
type signersChoice struct {
	TTL                 int64    `json:"ttl" kind:"duration" doc:"Not part of a request: the CA that signs decides. Accepted with a warning."`
	NotAfter            string   `json:"not_after" max:"64" doc:"Not part of a request: the CA that signs decides. Accepted with a warning."`
	NotBeforeDuration   int64    `json:"not_before_duration" kind:"duration" doc:"Not part of a request: the CA that signs decides. Accepted with a warning."`
	MaxPathLength       int      `json:"max_path_length" default:"-1" min:"-1" max:"32" doc:"Not part of a request: the CA that signs decides. Accepted with a warning."`
	PermittedDNSDomains []string `json:"permitted_dns_domains" doc:"Not part of a request: the CA that signs decides. Accepted with a warning."`
	UsePSS              bool     `json:"use_pss" doc:"Not part of a request: the CA that signs decides. Accepted with a warning."`
}

// warn says which of the given fields have no effect.
func (signersChoice) warn(call *schema.Call) {
	for _, name := range []string{"ttl", "not_after", "not_before_duration", "max_path_length", "permitted_dns_domains", "use_pss"} {
		if call.Given.Has(name) {
			call.Warn("%s has no effect on a request: the CA that signs it decides.", name)
		}
	}
}

type requestInput struct {
	caKey
	requestBody
}

// crossInput asks for a certificate from another CA for a key that is in use.
type crossInput struct {
	KeyRef string `json:"key_ref" kind:"ref" default:"default" doc:"Id or name of the key, or default."`
	requestBody
}

type requestAnswer struct {
	CSR      string `json:"csr" doc:"The certificate request in the requested form."`
	KeyID    string `json:"key_id" doc:"Id of the key."`
	KeyName  string `json:"key_name" doc:"Name of the key."`
	IssuerID string `json:"issuer_id" doc:"Id of the pending issuer."`
	KeyHash  string `json:"key_sha256" doc:"SHA-256 of the SubjectPublicKeyInfo, hexadecimal with colons; compare it where the request is signed."`
	State    string `json:"state" doc:"pending: the issuer has no certificate yet."`
}

func (m *mount) requestCA(ctx context.Context, call *schema.Call, in requestInput) (requestAnswer, error) {
	in.warn(call)
	choice, err := in.choice()
	if err != nil {
		return requestAnswer{}, err
	}
	return m.requestWith(ctx, choice, in.requestBody)
}

func (m *mount) requestCross(ctx context.Context, call *schema.Call, in crossInput) (requestAnswer, error) {
	in.warn(call)
	return m.requestWith(ctx, issuer.KeyChoice{Existing: in.KeyRef}, in.requestBody)
}

func (m *mount) requestWith(ctx context.Context, choice issuer.KeyChoice, in requestBody) (requestAnswer, error) {
	if in.Profile != "" {
		if _, err := m.subordinateProfile(ctx, in.Profile); err != nil {
			return requestAnswer{}, err
		}
	}
	request := issuer.PendingRequest{
		Key: choice, Name: in.Name, Subject: in.subject(), SubjectEncoding: in.SubjectEncoding, Profile: in.Profile, AddBasicConstraints: in.AddBasicConstraints,
		Signature: profile.Signature{HashBits: in.SignatureBits},
	}
	var err error
	if request.Extensions, err = in.extensions(); err != nil {
		return requestAnswer{}, err
	}
	pending, key, err := m.engine.Issuers.Generate(ctx, request)
	if err != nil {
		return requestAnswer{}, err
	}
	answer := requestAnswer{
		CSR: cert.CSRPEM(pending.CSR()), KeyID: key.ID, KeyName: key.Name, IssuerID: pending.ID(),
		KeyHash: key.Fingerprint().String(), State: string(pending.State()),
	}
	if in.Format == "der" {
		answer.CSR = base64DER(pending.CSR())
	}
	return answer, nil
}

// extensions returns what the request asks for.
func (b requestBody) extensions() ([]pkix.Extension, error) {
	var wanted []pkix.Extension
	names, err := b.names()
	if err != nil {
		return nil, err
	}
	if names.Count() > 0 {
		subject := b.subject()
		san, err := cert.MarshalSAN(names, len(subject.ToRDNSequence()) == 0)
		if err != nil {
			return nil, err
		}
		wanted = append(wanted, san)
	}
	usage, err := profile.ParseKeyUsages("key_usage", b.KeyUsage)
	if err != nil || usage == 0 {
		return wanted, err
	}
	usages, err := cert.MarshalKeyUsage(usage)
	return append(wanted, usages), err
}
