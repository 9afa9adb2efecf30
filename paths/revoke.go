package paths

import (
	"context"
	"time"

	"github.com/hashicorp/vault/sdk/framework"

	"vault-plugin-secrets-enterprise-pki/backend/cert"
	"vault-plugin-secrets-enterprise-pki/backend/fault"
	"vault-plugin-secrets-enterprise-pki/backend/revoke"
	"vault-plugin-secrets-enterprise-pki/paths/schema"
)

const revokeHelp = `
Give the serial number of a certificate, or the certificate itself. A certificate must be
equal to the one on record. Revoking it again changes nothing and returns the same
response. To revoke an issuer, use issuer/:ref/revoke. A suspended certificate can be
revoked permanently. It keeps the date of the suspension.
`

// revokeAsk is which certificate to revoke, and why.
type revokeAsk struct {
	Serial         string `json:"serial_number" max:"128" doc:"Serial number, hexadecimal as any program prints it; exclusive with certificate."`
	Certificate    string `json:"certificate" kind:"pem" max:"65536" doc:"The certificate in PEM; exclusive with serial_number."`
	Reason         string `json:"reason" max:"32" doc:"Why: a CRLReason of RFC 5280 such as keyCompromise or superseded; empty for unspecified."`
	InvalidityDate string `json:"invalidity_date" max:"64" doc:"When the key is known or suspected to have been compromised, RFC 3339."`
	Comment        string `json:"comment" max:"255" doc:"Remark that is kept with the record; it is in no CRL."`
}

type revokeKeyInput struct {
	revokeAsk
	PrivateKey string `json:"private_key" kind:"secret" required:"true" doc:"Private key of the certificate in PEM; it is compared and forgotten."`
}

type revokeAnswer struct {
	Time    int64  `json:"revocation_time" doc:"When the certificate was revoked or suspended, seconds since 1970; 0 after resume."`
	RFC3339 string `json:"revocation_time_rfc3339" doc:"When the certificate was revoked or suspended, RFC 3339; empty after resume."`
	State   string `json:"state" doc:"revoked, suspended, or active after resume."`
	Reason  string `json:"reason" doc:"Reason on record, in the words of RFC 5280; removeFromCRL after resume."`
	publication
}

func (m *mount) revokePaths() []*framework.Path {
	return []*framework.Path{
		schema.Path("revoke", "Revoke a certificate.", revokeHelp,
			schema.Write("Revoke a certificate.", m.revoke)),
		schema.Path("revoke-with-key", "Revoke a certificate by proof of its private key.", revokeHelp,
			schema.Write("Revoke a certificate by proof of its private key.", m.revokeWithKey)),
		schema.Path("suspend", "Suspend a certificate.", suspendHelp,
			schema.Write("Suspend a certificate.", m.suspend)),
		schema.Path("resume", "End the suspension of a certificate.", suspendHelp,
			schema.Write("End the suspension of a certificate.", m.resume)),
	}
}

func (m *mount) revoke(ctx context.Context, call *schema.Call, in revokeAsk) (revokeAnswer, error) {
	request, serial, err := in.parse()
	if err != nil {
		return revokeAnswer{}, err
	}
	var result *revoke.Result
	if in.Certificate != "" {
		result, err = m.engine.Revoke.ByCertificate(ctx, []byte(in.Certificate), request)
	} else {
		result, err = m.engine.Revoke.BySerial(ctx, serial, request)
	}
	if err != nil {
		return revokeAnswer{}, err
	}
	warnOfReason(call, request, result)
	return m.answerRevoked(ctx, call, result), nil
}

// warnOfReason says that a reason has no effect: the first one stays on record.
func warnOfReason(call *schema.Call, request revoke.Request, result *revoke.Result) {
	if r := result.Record.Revocation; r != nil && call.Given.Has("reason") && r.Reason != request.Reason {
		call.Warn("The certificate was revoked before, with the reason %s. That reason stays; %s has no effect.", r.Reason, request.Reason)
	}
}

func (m *mount) revokeWithKey(ctx context.Context, call *schema.Call, in revokeKeyInput) (revokeAnswer, error) {
	request, serial, err := in.parse()
	if err != nil {
		return revokeAnswer{}, err
	}
	if in.Certificate != "" {
		if serial, err = revoke.SerialOf([]byte(in.Certificate)); err != nil {
			return revokeAnswer{}, err
		}
	}
	result, err := m.engine.Revoke.ByKey(ctx, serial, []byte(in.PrivateKey), request)
	if err != nil {
		return revokeAnswer{}, err
	}
	warnOfReason(call, request, result)
	return m.answerRevoked(ctx, call, result), nil
}

// parse reads the request; serial is empty when the certificate names itself.
func (a revokeAsk) parse() (request revoke.Request, serial cert.Serial, err error) {
	if (a.Serial == "") == (a.Certificate == "") {
		return request, "", fault.Field("serial_number", "exactly one of serial_number and certificate is required")
	}
	if a.Serial != "" {
		if serial, err = cert.ParseSerial(a.Serial); err != nil {
			return request, "", err
		}
	}
	if request, err = parseReason(a.Reason, a.InvalidityDate, a.Comment); err != nil {
		return request, "", err
	}
	return request, serial, nil
}

// answerRevoked tells what became of a certificate, and when its CRL shows it.
func (m *mount) answerRevoked(ctx context.Context, call *schema.Call, result *revoke.Result) revokeAnswer {
	if result.Expired {
		call.Warn("The certificate has expired. The next CRL lists it, and later ones leave it out unless keep_after_expiry or crl_retention keeps it (RFC 5280 section 3.3).")
	}
	record, revocation := result.Record, result.Record.Revocation
	answer := revokeAnswer{State: "active", Reason: cert.RemoveFromCRL.String()}
	reason := cert.RemoveFromCRL
	if revocation != nil {
		reason = revocation.Reason
		answer = revokeAnswer{
			Time: revocation.At.Unix(), RFC3339: revocation.At.UTC().Format(time.RFC3339Nano), State: "suspended", Reason: reason.String(),
		}
		if revocation.Final() {
			answer.State = "revoked"
		}
	}
	answer.publication = m.publishes(ctx, call, record.Issuer, record.Serial, reason)
	return answer
}
