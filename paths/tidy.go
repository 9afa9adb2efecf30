package paths

import (
	"context"

	"github.com/hashicorp/vault/sdk/framework"

	"vault-plugin-secrets-enterprise-pki/backend/fault"
	"vault-plugin-secrets-enterprise-pki/backend/tidy"
	"vault-plugin-secrets-enterprise-pki/paths/schema"
)

const tidyHelp = `
Removes certificates that expired more than safety_buffer ago from storage and memory,
in the background. Certificates that share a page are removed together, after the last
of them has expired. A revoked certificate is removed after a CRL that was issued after
its expiry has listed it (RFC 5280 section 3.3). A certificate that has not expired is
never removed. The next run continues a run that was cancelled or interrupted.
`

func (m *mount) tidyPaths() []*framework.Path {
	return []*framework.Path{
		schema.Path("tidy", "Remove expired certificates and issuers.", tidyHelp,
			schema.Write("Start a run and return at once.", m.startTidy)),
		schema.Path("tidy-status", "Read the status of tidy.", tidyHelp,
			schema.Read("Read the progress of the current run, or the result of the last one.", m.readTidy)),
		schema.Path("tidy-cancel", "Cancel tidy.", tidyHelp,
			schema.Write("Cancel the run.", m.cancelTidy)),
		schema.Path("config/auto-tidy", "Configure automatic tidy.", configHelp,
			schema.Read("Read the settings of automatic tidy.", m.readAutoTidy),
			schema.Write("Change the settings of automatic tidy.", m.writeAutoTidy),
			schema.Patch("Change the settings of automatic tidy.", m.writeAutoTidy)),
	}
}

// tidyAnswer is the built-in engine's, with warnings. What it never counts here is 0.
type tidyAnswer struct {
	State   string  `json:"state" doc:"Inactive, Running, Cancelling, Cancelled, Finished or Error."`
	Error   *string `json:"error" blank:"null" doc:"Why the run failed; null when it did not."`
	Message *string `json:"message" blank:"null" doc:"Current step of the run; null when none is running."`
	tidyTimes
	tidy.Task
	tidyCounts
	Warnings []string `json:"warnings" doc:"Entries that the run skipped, with the reason."`
	Mount    string   `json:"internal_backend_uuid" doc:"UUID of the mount."`
}

type tidyTimes struct {
	Started  *string `json:"time_started" blank:"null" doc:"When the run began, RFC 3339; null before the first run."`
	Finished *string `json:"time_finished" blank:"null" doc:"When the run ended, RFC 3339; null until then."`
	LastAuto string  `json:"last_auto_tidy_finished" doc:"When the last automatic run finished, RFC 3339; empty for never."`
}

type tidyCounts struct {
	Deleted        int  `json:"cert_store_deleted_count" doc:"Certificates removed that were not revoked."`
	DeletedRevoked int  `json:"revoked_cert_deleted_count" doc:"Revoked certificates removed."`
	DeletedIssuers int  `json:"issuer_deleted_count" doc:"Issuers removed."`
	Current        *int `json:"current_cert_store_count" blank:"null" doc:"Number of stored certificates, with maintain_stored_certificate_counts of config/auto-tidy; otherwise null."`
	CurrentRevoked *int `json:"current_revoked_cert_count" blank:"null" doc:"Number of stored revoked certificates, with the same setting; otherwise null."`
	MissingIssuer  int  `json:"missing_issuer_cert_count" doc:"Always 0: every certificate names its issuer."`
	Queue          int  `json:"revocation_queue_deleted_count" doc:"Always 0."`
	CrossRevoked   int  `json:"cross_revoked_cert_deleted_count" doc:"Always 0."`
	Metadata       int  `json:"cert_metadata_deleted_count" doc:"Always 0: metadata is removed with its certificate."`
	Accounts       int  `json:"total_acme_account_count" doc:"Always 0."`
	RevokedAccount int  `json:"acme_account_revoked_count" doc:"Always 0."`
	DeletedAccount int  `json:"acme_account_deleted_count" doc:"Always 0."`
	DeletedOrders  int  `json:"acme_orders_deleted_count" doc:"Always 0."`
	Nonces         int  `json:"cmpv2_nonce_deleted_count" doc:"Always 0."`
}

func (m *mount) startTidy(ctx context.Context, call *schema.Call, in tidy.Task) (schema.None, error) {
	if in.Idle() {
		if err := in.Check(); err != nil {
			return schema.None{}, err
		}
		call.Warn("No targets to tidy: set tidy_cert_store, tidy_revoked_certs or tidy_expired_issuers to true.")
		return schema.None{}, nil
	}
	began, err := m.engine.Tidy.Start(ctx, in)
	switch {
	case err != nil:
		return schema.None{}, err
	case began:
		call.Warn("Tidy operation successfully started. Read tidy-status for its progress.")
	default:
		call.Warn("Tidy operation already in progress.")
	}
	return schema.None{}, nil
}

func (m *mount) readTidy(ctx context.Context, _ *schema.Call, _ schema.None) (tidyAnswer, error) {
	run, err := m.engine.Tidy.Status(ctx)
	if err != nil {
		return tidyAnswer{}, err
	}
	settings, err := m.engine.Tidy.Settings(ctx)
	if err != nil {
		return tidyAnswer{}, err
	}
	answer := tidyAnswer{
		State: string(run.State), Error: orNull(run.Error), Message: orNull(run.Message), Task: run.Task, Warnings: run.Warnings, Mount: m.id,
		tidyTimes: tidyTimes{Started: orNull(rfc3339(run.Started)), Finished: orNull(rfc3339(run.Finished)), LastAuto: rfc3339(run.LastAuto)},
		tidyCounts: tidyCounts{
			Deleted:        run.Removed.Certificates - run.Removed.Revoked,
			DeletedRevoked: run.Removed.Revoked, DeletedIssuers: run.Issuers,
		},
	}
	if settings.MaintainCounts && m.engine.Ledger.Loaded() {
		answer.Current, answer.CurrentRevoked = new(m.engine.Ledger.Count()), new(m.engine.Ledger.CountRevoked())
	}
	return answer, nil
}

// orNull returns nil for an empty text, which the built-in engine shows as null.
func orNull(text string) *string {
	if text == "" {
		return nil
	}
	return &text
}

func (m *mount) cancelTidy(ctx context.Context, call *schema.Call, in schema.None) (tidyAnswer, error) {
	if !m.engine.Tidy.Cancel() {
		return tidyAnswer{}, fault.New(fault.Invalid, "Tidy operation cannot be cancelled as none is currently running.")
	}
	return m.readTidy(ctx, call, in)
}

func (m *mount) readAutoTidy(ctx context.Context, _ *schema.Call, _ schema.None) (tidy.Settings, error) {
	return m.engine.Tidy.Settings(ctx)
}

func (m *mount) writeAutoTidy(ctx context.Context, call *schema.Call, in tidy.Settings) (tidy.Settings, error) {
	return m.engine.Tidy.AmendSettings(ctx, schema.Change(in, call.Given))
}
