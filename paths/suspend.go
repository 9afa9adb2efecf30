package paths

import (
	"context"

	"vault-plugin-secrets-enterprise-pki/backend/cert"
	"vault-plugin-secrets-enterprise-pki/backend/revoke"
	"vault-plugin-secrets-enterprise-pki/paths/schema"
)

const suspendHelp = `
A suspended certificate is revoked for the time being, with the reason certificateHold:
OCSP and the next CRL say so until resume ends it. Only a profile that lists
certificateHold in allowed_revocation_reasons allows that. Revoking the certificate for
good is possible all the while; no other revocation than a suspension ever ends.
`

type suspendInput struct {
	resumeInput
	Comment string `json:"comment" max:"255" doc:"Remark that is kept with the record while the certificate is suspended; it is in no CRL."`
}

type resumeInput struct {
	Serial string `json:"serial_number" required:"true" max:"128" doc:"Serial number, hexadecimal with colons or hyphens."`
}

func (m *mount) suspend(ctx context.Context, call *schema.Call, in suspendInput) (revokeAnswer, error) {
	return m.hold(ctx, call, in.Serial, func(serial cert.Serial) (*revoke.Result, error) {
		return m.engine.Revoke.Suspend(ctx, serial, in.Comment)
	})
}

func (m *mount) resume(ctx context.Context, call *schema.Call, in resumeInput) (revokeAnswer, error) {
	return m.hold(ctx, call, in.Serial, func(serial cert.Serial) (*revoke.Result, error) {
		return m.engine.Revoke.Resume(ctx, serial)
	})
}

func (m *mount) hold(ctx context.Context, call *schema.Call, text string, change func(cert.Serial) (*revoke.Result, error)) (revokeAnswer, error) {
	serial, err := cert.ParseSerial(text)
	if err != nil {
		return revokeAnswer{}, err
	}
	result, err := change(serial)
	if err != nil {
		return revokeAnswer{}, err
	}
	return m.answerRevoked(ctx, call, result), nil
}
