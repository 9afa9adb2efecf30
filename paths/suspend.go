package paths

import (
	"context"

	"vault-plugin-secrets-enterprise-pki/backend/cert"
	"vault-plugin-secrets-enterprise-pki/backend/revoke"
	"vault-plugin-secrets-enterprise-pki/paths/schema"
)

const suspendHelp = `
A suspended certificate is revoked with the reason certificateHold until resume ends the
suspension. OCSP and the next CRL show it. The profile must list certificateHold in
allowed_revocation_reasons. A suspended certificate can be revoked permanently. No other
revocation can be undone.
`

type suspendInput struct {
	resumeInput
	Comment string `json:"comment" max:"255" doc:"Remark that is kept with the record while the certificate is suspended; it is in no CRL."`
}

type resumeInput struct {
	Serial string `json:"serial_number" required:"true" max:"128" doc:"Serial number, hexadecimal as any program prints it."`
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
