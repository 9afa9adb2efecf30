package paths

import (
	"context"

	"github.com/hashicorp/vault/sdk/framework"

	"vault-plugin-secrets-enterprise-pki/backend/issue"
	"vault-plugin-secrets-enterprise-pki/backend/role"
	"vault-plugin-secrets-enterprise-pki/paths/schema"
)

const crossHelp = `
Signs the certificate of another root with a CA of this mount. Use it when a new
root replaces an old one: clients that trust only the old root then accept what is
below the new one. Subject, key, extensions and validity are those of the given
certificate; the issuer, the serial number, the authority key identifier and the
URLs are this CA's. The path requires the sudo capability.
`

type selfIssuedInput struct {
	Ref           string `json:"issuer_ref" kind:"ref" default:"default" doc:"Id or name of the issuer that signs, or default."`
	Certificate   string `json:"certificate" kind:"pem" max:"65536" required:"true" doc:"Self-signed certificate of the other root, in PEM."`
	SameAlgorithm bool   `json:"require_matching_certificate_algorithms" doc:"Whether a certificate is refused whose key is of another type than the issuer's."`
}

func (m *mount) crossPaths() []*framework.Path {
	return []*framework.Path{
		schema.Path("root/sign-self-issued", "Sign the certificate of another root.", crossHelp,
			schema.Write("Sign a self-issued certificate.", m.signSelfIssued)),
	}
}

func (m *mount) signSelfIssued(ctx context.Context, call *schema.Call, in selfIssuedInput) (certificateAnswer, error) {
	result, err := m.engine.Issue.SignSelfIssued(ctx, issue.CrossRequest{
		Issuer: in.Ref, Certificate: []byte(in.Certificate), SameAlgorithm: in.SameAlgorithm,
	}, role.Identity{EntityID: call.Request.EntityID})
	if err != nil {
		return certificateAnswer{}, err
	}
	return m.answerSubordinate(call, result, caForm{})
}
