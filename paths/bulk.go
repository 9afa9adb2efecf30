package paths

import (
	"context"
	"strings"
	"time"

	"github.com/hashicorp/vault/sdk/framework"

	"vault-plugin-secrets-enterprise-pki/backend/cert"
	"vault-plugin-secrets-enterprise-pki/backend/fault"
	"vault-plugin-secrets-enterprise-pki/backend/profile"
	"vault-plugin-secrets-enterprise-pki/backend/revoke"
	"vault-plugin-secrets-enterprise-pki/paths/schema"
)

const bulkHelp = `
Revokes the certificates that match all given fields and have not expired. The run
continues in the background. With dry_run, nothing is written and the response reports
the number of matching certificates. Suspended certificates are revoked too. The run
skips and counts three kinds: certificates whose profile does not permit the reason,
issuers and OCSP responders of the mount, and certificates without a record. OCSP shows
each revocation immediately. The CRL of each issuer is rebuilt once, at the end. To
continue a run that was interrupted, give the same order again.
`

// maxPreview is the most serial numbers that a dry run lists.
const maxPreview = 100

type bulkInput struct {
	Issuer         string `json:"issuer" kind:"ref" doc:"Issued by this issuer, by id or name."`
	Role           string `json:"role" kind:"name" doc:"Issued by this role."`
	Owner          string `json:"owner" max:"255" doc:"Of this owner."`
	Key            string `json:"key" max:"128" doc:"With this public key: SHA-256 of its SubjectPublicKeyInfo, hexadecimal."`
	Profile        string `json:"profile" max:"255" doc:"Issued under this profile: NAME for all of its versions, or NAME@VERSION."`
	Reason         string `json:"reason" max:"32" doc:"Why: a CRLReason of RFC 5280 such as keyCompromise or superseded; empty for unspecified."`
	InvalidityDate string `json:"invalidity_date" max:"64" doc:"When the keys are known or suspected to have been compromised, RFC 3339."`
	Comment        string `json:"comment" max:"255" doc:"Remark that is kept with each record; it is in no CRL."`
	DryRun         bool   `json:"dry_run" default:"false" doc:"Report the matching certificates and revoke none."`
}

// bulkSurvey is what the filter finds.
type bulkSurvey struct {
	Matched    int `json:"matched_count" doc:"Certificates to be revoked, counted at the start."`
	Refused    int `json:"refused_count" doc:"Passed over: their profile does not allow the reason."`
	Own        int `json:"own_count" doc:"Passed over: issuers, which issuer/:ref/revoke revokes, and OCSP responders of the mount."`
	Unrecorded int `json:"unrecorded_count" doc:"Passed over: issued without a record (no_store), so that only the certificate itself names them."`
	Revoked    int `json:"already_revoked_count" doc:"Revoked before."`
	Pages      int `json:"page_count" doc:"Number of storage entries of the matched certificates. Each costs one read and at most two writes."`
}

type bulkAnswer struct {
	DryRun bool   `json:"dry_run" doc:"Whether nothing was done."`
	State  string `json:"state" doc:"Running; Inactive after a dry run."`
	bulkSurvey
	Serials []string `json:"serial_numbers" doc:"After a dry run: the first 100 serial numbers, oldest first."`
}

type bulkStatus struct {
	State    string `json:"state" doc:"Inactive, Running, Cancelling, Finished, Cancelled, Interrupted (the process ended), or Error."`
	Error    string `json:"error,omitempty" doc:"Why some certificates, or all that were left, are not revoked."`
	Started  string `json:"time_started,omitempty" doc:"When the run began, RFC 3339."`
	Finished string `json:"time_finished,omitempty" doc:"When the run ended, RFC 3339."`
	Issuer   string `json:"issuer" doc:"The filter: id of the issuer."`
	Role     string `json:"role" doc:"The filter: role."`
	Owner    string `json:"owner" doc:"The filter: owner."`
	Key      string `json:"key" doc:"The filter: public key."`
	Profile  string `json:"profile" doc:"The filter: profile."`
	Reason   string `json:"reason" doc:"The reason, in the words of RFC 5280."`
	bulkSurvey
	bulkProgress
}

type bulkProgress struct {
	DoneRevoked int `json:"revoked_count" doc:"Number of certificates that the run has revoked so far, including suspended ones."`
	DonePages   int `json:"pages_done_count" doc:"Storage entries looked at so far."`
	FailedPages int `json:"pages_failed_count" doc:"Storage entries that could not be read or written."`
}

func (m *mount) bulkPaths() []*framework.Path {
	return []*framework.Path{
		schema.Path("revoke/bulk", "Revoke many certificates.", bulkHelp,
			schema.Write("Start to revoke all matching certificates, and return at once.", m.startBulk)),
		schema.Path("revoke/bulk/status", "Read the status of the bulk revocation.", bulkHelp,
			schema.Read("Read the progress of the current bulk revocation, or the result of the last one.", m.readBulk)),
		schema.Path("revoke/bulk/cancel", "Cancel the bulk revocation.", bulkHelp,
			schema.Write("Cancel the bulk revocation. Revoked certificates stay revoked.", m.cancelBulk)),
	}
}

func (m *mount) startBulk(ctx context.Context, call *schema.Call, in bulkInput) (bulkAnswer, error) {
	order, err := m.bulkOrder(ctx, in)
	if err != nil {
		return bulkAnswer{}, err
	}
	if err := m.warnOfFilter(ctx, call, in); err != nil {
		return bulkAnswer{}, err
	}
	if in.DryRun {
		survey, serials, err := m.engine.Revoke.Bulk.Preview(ctx, order, maxPreview)
		if err != nil {
			return bulkAnswer{}, err
		}
		answer := bulkAnswer{DryRun: true, State: string(revoke.Inactive), bulkSurvey: answerSurvey(call, survey)}
		for _, serial := range serials {
			answer.Serials = append(answer.Serials, serial.String())
		}
		return answer, nil
	}
	run, err := m.engine.Revoke.Bulk.Start(ctx, order)
	if err != nil {
		return bulkAnswer{}, err
	}
	call.Warn("Bulk revocation started. Read revoke/bulk/status for its progress.")
	return bulkAnswer{State: string(run.State), bulkSurvey: answerSurvey(call, run.Survey)}, nil
}

// warnOfFilter tells of a role or profile that does not exist. It is no error: what a
// deleted one issued can be revoked.
func (m *mount) warnOfFilter(ctx context.Context, call *schema.Call, in bulkInput) error {
	if in.Role != "" {
		_, err := m.engine.Catalog.RoleConfig(ctx, in.Role)
		if err != nil && !fault.Is(err, fault.NotFound) {
			return err
		}
		if err != nil {
			call.Warn("There is no role %s. Only certificates that a deleted role of this name issued can match.", in.Role)
		}
	}
	name, _, pinned := strings.Cut(in.Profile, "@")
	if name == "" || strings.HasPrefix(name, "role:") || name == profile.SpelledRoot || name == profile.SpelledSubCA {
		return nil
	}
	find := m.engine.Catalog.Resolve
	if pinned {
		find = m.engine.Catalog.Issued
	}
	_, err := find(ctx, in.Profile)
	if err != nil && !fault.Is(err, fault.Invalid) {
		return err
	}
	if err != nil {
		call.Warn("There is no profile %s. Only certificates that were issued under a deleted or renamed profile of this name can match.", in.Profile)
	}
	return nil
}

func (m *mount) bulkOrder(ctx context.Context, in bulkInput) (order revoke.Order, err error) {
	order.Filter = revoke.Filter{Role: in.Role, Owner: in.Owner, Profile: in.Profile, Key: in.Key}
	if in.Issuer != "" {
		i, err := m.engine.Issuers.Published(ctx, in.Issuer)
		if err != nil {
			return order, missingIssuer(in.Issuer, err)
		}
		order.Issuer = i.ID()
	}
	order.Request, err = parseReason(in.Reason, in.InvalidityDate, in.Comment)
	return order, err
}

// parseReason reads why certificates are revoked.
func parseReason(reason, invalidityDate, comment string) (request revoke.Request, err error) {
	request.Comment = comment
	if request.Reason, err = cert.ParseReason(reason); err != nil {
		return request, fault.Field("reason", "%w", err)
	}
	if invalidityDate != "" {
		if request.InvalidityAt, err = time.Parse(time.RFC3339, invalidityDate); err != nil {
			return request, fault.Field("invalidity_date", "must be an RFC 3339 time")
		}
	}
	return request, nil
}

func answerSurvey(call *schema.Call, survey revoke.Survey) bulkSurvey {
	answer := bulkSurvey{
		Matched: survey.Matched, Own: survey.Own, Unrecorded: survey.Unrecorded, Revoked: survey.Revoked, Pages: survey.Pages,
	}
	for _, refusal := range survey.Refused {
		answer.Refused += refusal.Count
		if call != nil {
			call.Warn("%d certificates are skipped: profile %s does not permit the reason (allowed_revocation_reasons).", refusal.Count, refusal.Profile)
		}
	}
	return answer
}

func (m *mount) readBulk(ctx context.Context, _ *schema.Call, _ schema.None) (bulkStatus, error) {
	run, err := m.engine.Revoke.Bulk.Status(ctx)
	if err != nil {
		return bulkStatus{}, err
	}
	filter := run.Order.Filter
	answer := bulkStatus{
		State: string(run.State), Error: run.Error, Started: rfc3339(run.Started), Finished: rfc3339(run.Finished),
		Issuer: filter.Issuer, Role: filter.Role, Owner: filter.Owner, Key: filter.Key, Profile: filter.Profile,
		bulkSurvey:   answerSurvey(nil, run.Survey),
		bulkProgress: bulkProgress{DoneRevoked: run.Done.Revoked, DonePages: run.Done.Pages, FailedPages: run.Done.Failed},
	}
	if run.State != revoke.Inactive {
		answer.Reason = run.Order.Reason.String()
	}
	return answer, nil
}

func (m *mount) cancelBulk(ctx context.Context, call *schema.Call, in schema.None) (bulkStatus, error) {
	if !m.engine.Revoke.Bulk.Cancel() {
		return bulkStatus{}, fault.New(fault.Invalid, "no bulk revocation is in progress")
	}
	return m.readBulk(ctx, call, in)
}
