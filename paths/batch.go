package paths

import (
	"context"

	"vault-plugin-secrets-enterprise-pki/backend/cert"
	"vault-plugin-secrets-enterprise-pki/backend/fault"
	"vault-plugin-secrets-enterprise-pki/backend/issue"
	"vault-plugin-secrets-enterprise-pki/paths/schema"
)

// batchBytes caps the request of a batch: 256 CSRs of the largest size.
const batchBytes = 16 << 20

// batchOne is one request of a batch.
type batchOne struct {
	namedIssuer
	certificateAsk
	CSR string `json:"csr" kind:"pem" max:"65536" doc:"Certificate request in PEM."`
}

type batchInput struct {
	Role        string     `json:"role" in:"path" kind:"name" doc:"Name of the role."`
	Requests    []batchOne `json:"requests" items:"256" required:"true" doc:"Up to 256 requests, each with csr and the fields of sign."`
	RemoveRoots bool       `json:"remove_roots_from_chain" doc:"Whether self-signed certificates are left out of ca_chain."`
}

type batchRow struct {
	Certificate string   `json:"certificate,omitempty" doc:"The certificate in PEM; absent when the request was refused."`
	Serial      string   `json:"serial_number,omitempty" doc:"Serial number."`
	Expiration  int64    `json:"expiration,omitempty" doc:"Expiry, seconds since 1970."`
	Warnings    []string `json:"warnings,omitempty" doc:"Values that were shortened or dropped."`
	Error       string   `json:"error,omitempty" doc:"Why the request was refused."`
	Status      int      `json:"error_status,omitempty" doc:"HTTP status that the refusal has as a single request."`
}

type batchAnswer struct {
	Responses []batchRow `json:"responses" doc:"One result for each request, in the same order."`
	IssuingCA string     `json:"issuing_ca,omitempty" doc:"Certificate of the issuer; absent when every request was refused."`
	Chain     []string   `json:"ca_chain,omitempty" doc:"Certificates from the issuer up to the root, as far as they are known."`
}

func (m *mount) signBatch(ctx context.Context, call *schema.Call, in batchInput) (batchAnswer, error) {
	answer := batchAnswer{Responses: make([]batchRow, len(in.Requests))}
	var requests []issue.Request
	var rows []int // the row of each request
	for i, one := range in.Requests {
		request, err := m.request(target{role: in.Role, named: one.Named}, one.certificateAsk, one.CSR)
		if err != nil {
			answer.Responses[i] = m.refusedRow(call, err)
			continue
		}
		requests, rows = append(requests, request), append(rows, i)
	}
	if len(requests) == 0 {
		return answer, nil
	}
	who, err := m.identify(ctx, call, in.Role)
	if err != nil {
		return batchAnswer{}, err
	}
	outcomes, err := m.engine.Issue.Batch(ctx, requests, who)
	if err != nil {
		return batchAnswer{}, err
	}
	for i, outcome := range outcomes {
		if outcome.Err != nil {
			answer.Responses[rows[i]] = m.refusedRow(call, outcome.Err)
			continue
		}
		answer.add(rows[i], outcome.Result, answerForm{RemoveRoots: in.RemoveRoots})
	}
	return answer, nil
}

// add fills in the row of an issued certificate.
func (a *batchAnswer) add(row int, result *issue.Result, form answerForm) {
	a.Responses[row] = batchRow{
		Certificate: cert.CertificatePEM(result.Certificate.Raw),
		Serial:      result.Serial.String(),
		Expiration:  result.Certificate.NotAfter.Unix(),
		Warnings:    result.Warnings,
	}
	if a.IssuingCA == "" {
		a.IssuingCA = cert.CertificatePEM(result.Issuer.Certificate().Raw)
		a.Chain = form.renderAll(result.Issuer.Chain())
	}
}

// refusedRow tells one refusal as schema tells it for a single request.
func (m *mount) refusedRow(call *schema.Call, err error) batchRow {
	if fault.Is(err, fault.Internal) {
		m.Logger().Error("request of a batch failed", "request", call.Request.ID, "error", err)
	}
	return batchRow{Error: schema.Outward(err), Status: fault.KindOf(err).HTTPStatus()}
}
