package paths

import (
	"bytes"
	"cmp"
	"context"
	"crypto/x509"
	"net/http"
	"slices"
	"strings"

	"github.com/hashicorp/vault/sdk/framework"
	"github.com/hashicorp/vault/sdk/logical"

	"vault-plugin-secrets-enterprise-pki/backend/cert"
	"vault-plugin-secrets-enterprise-pki/backend/fault"
	"vault-plugin-secrets-enterprise-pki/backend/issuer"
	"vault-plugin-secrets-enterprise-pki/paths/schema"
)

const issuerHelp = `
An issuer is one certificate of a CA, with or without the CA's key. A CA is a subject
and a key: certificates that renew it with the same key, or cross-sign it, are further
issuers of the same CA, and share its CRL, its OCSP responses and its revocations.

An issuer is pending while its request is signed elsewhere, and active when the
certificate is imported. A retiring issuer issues nothing and signs CRLs and OCSP
responses; it is retired when all certificates of its CA have expired. Both can be
activated again. A revoked issuer stays revoked.

Deleting the last issuer of a CA is refused while certificates of the CA live. Example:

  vault write -f pki/issuer/old/retire
`

const (
	derType = "application/pkix-cert"
	pemType = "application/pem-certificate-chain"
)

type issuerRef struct {
	Ref string `json:"issuer_ref" in:"path" kind:"ref" doc:"Id or name of the issuer, or default."`
}

type issuerInput struct {
	issuerRef
	issuer.Settings
}

type issuerRow struct {
	Name    string `json:"issuer_name" doc:"Name of the issuer."`
	Default bool   `json:"is_default" doc:"Whether this is the default issuer."`
	Serial  string `json:"serial_number" doc:"Serial number of its certificate."`
	KeyID   string `json:"key_id" doc:"Id of its key, empty if the mount does not have the key."`
	State   string `json:"state" doc:"pending, active, retiring, retired, revoked or external."`
	Subject string `json:"subject" doc:"Subject of its certificate, or of its request while pending, as RFC 4514 writes it."`
	Expires string `json:"not_after,omitempty" doc:"When its certificate expires, RFC 3339; absent while pending."`
}

// issuerAnswer is an issuer with its settings, in the shape of the built-in engine:
// usage is one text there.
type issuerAnswer struct {
	ID                  string   `json:"issuer_id" doc:"Id of the issuer."`
	CA                  string   `json:"ca_id" doc:"Id of the CA that the issuer is a certificate of: the same for all with its subject and key. Empty while pending."`
	Name                string   `json:"issuer_name" doc:"Name of the issuer."`
	State               string   `json:"state" doc:"pending, active, retiring, retired, revoked or external."`
	KeyID               string   `json:"key_id" doc:"Id of its key, empty if the mount does not have the key."`
	KeyHash             string   `json:"key_sha256" doc:"SHA-256 of the public key (SubjectPublicKeyInfo), hexadecimal with colons: the value that pki-ceremony prints."`
	Certificate         string   `json:"certificate" doc:"The certificate in PEM, empty while pending."`
	CSR                 string   `json:"csr,omitempty" doc:"The request in PEM, while pending."`
	Serial              string   `json:"serial_number" doc:"Serial number of the certificate."`
	Chain               []string `json:"ca_chain" doc:"Certificates from this issuer up to the root, as far as they are known."`
	ManualChain         []string `json:"manual_chain" doc:"References of the issuers of the chain, if set by hand."`
	LeafNotAfter        string   `json:"leaf_not_after_behavior" doc:"err or truncate."`
	Usage               string   `json:"usage" doc:"Permitted uses of the issuer, separated by commas."`
	Publish             string   `json:"publish" enum:"auto|always|never" doc:"Whether edges show the issuer and serve its certificate, CRLs and OCSP: auto (if its key is in this mount, it is above such an issuer, or its CRL was imported), always or never. never breaks revocation checking for certificates that name an edge."`
	RevocationAlgorithm string   `json:"revocation_signature_algorithm" doc:"Signature algorithm of CRLs and OCSP responses. If empty, the engine chooses it by the key."`
	IssuingCertificates []string `json:"issuing_certificates" doc:"URLs of the issuer's certificate."`
	CRLDistribution     []string `json:"crl_distribution_points" doc:"URLs of the issuer's CRL."`
	DeltaCRLs           []string `json:"delta_crl_distribution_points" doc:"URLs of the issuer's delta CRL."`
	OCSPServers         []string `json:"ocsp_servers" doc:"URLs of the OCSP responder."`
	EnableAIATemplating bool     `json:"enable_aia_url_templating" doc:"Whether templates in these URLs are replaced."`
	PermittedProfiles   []string `json:"permitted_profiles" doc:"Profiles under which the issuer may issue; empty: all."`
	Revoked             bool     `json:"revoked" doc:"Whether the issuer is revoked."`
	RevocationTime      int64    `json:"revocation_time,omitempty" doc:"When it was revoked, seconds since 1970."`
	RevocationRFC3339   string   `json:"revocation_time_rfc3339,omitempty" doc:"When it was revoked, RFC 3339."`
	CRLNextUpdate       string   `json:"crl_next_update,omitempty" doc:"nextUpdate of its complete CRL, RFC 3339."`
	CRLAlarm            string   `json:"crl_alarm,omitempty" doc:"Problem of its CRL: it has expired, or its rebuild is overdue. Empty if there is none."`
}

// publicIssuer is what anyone may know of an issuer: its path needs no token.
type publicIssuer struct {
	ID          string   `json:"issuer_id" doc:"Id of the issuer."`
	Name        string   `json:"issuer_name" doc:"Name of the issuer."`
	Certificate string   `json:"certificate" doc:"The certificate in PEM."`
	Chain       []string `json:"ca_chain" doc:"Certificates from this issuer up to the root, as far as they are known."`
}

func (m *mount) issuerPaths() []*framework.Path {
	named := "issuer/" + schema.Segment("issuer_ref")
	return []*framework.Path{
		schema.Path("issuers/?", "List the issuers.", issuerHelp,
			schema.List("List the ids of the issuers that have a certificate, or of those in one state.", m.listIssuers)),
		schema.Path(named, "Read, change or delete an issuer.", issuerHelp,
			schema.Read("Read an issuer.", m.readIssuer),
			schema.Write("Replace the settings of an issuer; without issuer_name its name stays.", m.writeIssuer),
			schema.Patch("Change some settings of an issuer.", m.patchIssuer),
			schema.Delete("Delete an issuer. Its key stays, and so do its CRL and OCSP while certificates live.", m.deleteIssuer)),
		schema.Path(named+"/json", "Read the certificate of an issuer.", issuerHelp,
			schema.Read("Read the certificate of an issuer with its chain.", m.readIssuerJSON)),
		schema.Path(named+"/der", "Fetch the certificate of an issuer in DER.", issuerHelp,
			schema.Read("Fetch the certificate in DER.", m.readIssuerDER)),
		schema.Path(named+"/pem", "Fetch the certificate of an issuer in PEM.", issuerHelp,
			schema.Read("Fetch the certificate in PEM.", m.readIssuerPEM)),
		schema.Path(named+"/revoke", "Revoke an issuer permanently.", issuerHelp,
			schema.Write("Revoke an issuer.", m.revokeIssuer)),
		schema.Path(named+"/activate", "Let a retiring or retired issuer issue again.", issuerHelp,
			schema.Write("Move a retiring or retired issuer back to active.", m.activateIssuer)),
		schema.Path(named+"/retire", "Stop an issuer from issuing.", issuerHelp,
			schema.Write("Move an issuer to retiring or, when no certificate of its CA lives, to retired.", m.retireIssuer)),
	}
}

// issuerFilter is a page of the issuers in one state.
type issuerFilter struct {
	schema.Page
	State string `json:"state" enum:"pending|active|retiring|retired|revoked|external" doc:"Only issuers in this state; empty: all that have a certificate, with a warning that names the pending ones."`
}

func (m *mount) listIssuers(ctx context.Context, call *schema.Call, in issuerFilter) (schema.KeyInfo[issuerRow], error) {
	signed, err := m.engine.Issuers.List(ctx)
	if err != nil {
		return schema.KeyInfo[issuerRow]{}, err
	}
	pending, err := m.engine.Issuers.Pending(ctx)
	if err != nil {
		return schema.KeyInfo[issuerRow]{}, err
	}
	all := signed
	switch {
	case in.State == string(issuer.Pending):
		all = pending
	case in.State == "" && len(pending) > 0:
		warnOfPending(call, pending)
	}
	defaults, err := m.engine.Issuers.Defaults(ctx)
	if err != nil {
		return schema.KeyInfo[issuerRow]{}, err
	}
	ids, rows := make([]string, 0, len(all)), make(map[string]issuerRow, len(all))
	for _, i := range all {
		if in.State != "" && in.State != string(i.State()) {
			continue
		}
		ids = append(ids, i.ID())
		rows[i.ID()] = rowOf(i, i.ID() == defaults.Default)
	}
	slices.Sort(ids)
	return schema.NewKeyInfo(in.Page, ids, rows), nil
}

// warnOfPending names the issuers that a plain list leaves out: clients of the built-in
// engine read the certificate of each one that it has, and give up without.
func warnOfPending(call *schema.Call, pending []*issuer.Issuer) {
	var named []string
	for _, i := range pending {
		named = append(named, strings.TrimSpace(i.Name()+" "+i.ID()))
	}
	call.Warn("Pending, and not in this list because they have no certificate yet: %s. Read one with issuer/ID; state=pending lists them.", strings.Join(named, ", "))
}

func rowOf(i *issuer.Issuer, isDefault bool) issuerRow {
	row := issuerRow{Name: i.Name(), Default: isDefault, Serial: i.Serial().String(), KeyID: i.KeyID(), State: string(i.State())}
	if c := i.Certificate(); c != nil {
		row.Subject, row.Expires = c.Subject.String(), rfc3339(c.NotAfter)
	} else if csr, err := x509.ParseCertificateRequest(i.CSR()); err == nil {
		row.Subject = csr.Subject.String()
	}
	return row
}

func (m *mount) readIssuer(ctx context.Context, _ *schema.Call, in issuerRef) (issuerAnswer, error) {
	i, err := m.engine.Issuers.Get(ctx, in.Ref)
	if err != nil {
		return issuerAnswer{}, missingIssuer(in.Ref, err)
	}
	answer := answerIssuer(i)
	head, err := m.engine.CRL.Newest(ctx, i.ID())
	if err != nil {
		return issuerAnswer{}, err
	}
	answer.CRLNextUpdate = rfc3339(head.NextUpdate)
	answer.CRLAlarm, err = m.engine.CRL.Alarm(ctx, i.ID())
	return answer, err
}

// writeIssuer replaces all settings but a name that is not given: URLs in certificates
// that live name the issuer by it. The default of usage is what the certificate allows.
func (m *mount) writeIssuer(ctx context.Context, call *schema.Call, in issuerInput) (issuerAnswer, error) {
	i, err := m.engine.Issuers.Get(ctx, in.Ref)
	if err != nil {
		return issuerAnswer{}, err
	}
	if !call.Given.Has("usage") {
		in.Usage = issuer.UsageFor(i.Certificate(), in.Usage)
	}
	i, err = m.engine.Issuers.Amend(ctx, in.Ref, func(stored *issuer.Settings) error {
		if !call.Given.Has("issuer_name") {
			in.Name = stored.Name
		}
		*stored = in.Settings
		return nil
	})
	if err != nil {
		return issuerAnswer{}, err
	}
	return answerIssuer(i), nil
}

func (m *mount) patchIssuer(ctx context.Context, call *schema.Call, in issuerInput) (issuerAnswer, error) {
	i, err := m.engine.Issuers.Amend(ctx, in.Ref, schema.Change(in.Settings, call.Given))
	if err != nil {
		return issuerAnswer{}, err
	}
	return answerIssuer(i), nil
}

// deleteInput names the issuer to delete.
type deleteInput struct {
	issuerRef
	Force bool `json:"force" doc:"Whether to delete the last issuer of a CA although certificates of the CA live. Nothing is issued any more. The CRL and OCSP go on while the key is in the mount."`
}

func (m *mount) deleteIssuer(ctx context.Context, call *schema.Call, in deleteInput) (schema.None, error) {
	done, err := m.engine.DeleteIssuer(ctx, in.Ref, issuer.DeleteOptions{Force: in.Force})
	if fault.Is(err, fault.NotFound) {
		return schema.None{}, nil
	}
	if err != nil {
		return schema.None{}, err
	}
	if done.Kept {
		call.Warn("%d certificates of the CA have not expired, the last until %s. Until then the certificate, the CRL and OCSP of issuer %s answer at the URLs in these certificates; they need its key. Import the certificate again to have the issuer back.",
			done.Live.Count, rfc3339(done.Live.Until), done.ID)
	}
	if done.WasDefault {
		call.Warn("The default issuer is deleted. Requests without an issuer fail until config/issuers names another one.")
	}
	return schema.None{}, nil
}

func (m *mount) readIssuerJSON(ctx context.Context, _ *schema.Call, in issuerRef) (publicIssuer, error) {
	i, err := m.published(ctx, in.Ref)
	if err != nil {
		return publicIssuer{}, err
	}
	return publicIssuer{
		ID: i.ID(), Name: i.Name(), Certificate: cert.CertificatePEM(i.Certificate().Raw), Chain: answerForm{}.renderAll(i.Chain()),
	}, nil
}

func (m *mount) readIssuerDER(ctx context.Context, _ *schema.Call, in issuerRef) (schema.Raw, error) {
	i, err := m.published(ctx, in.Ref)
	if err != nil {
		return schema.Raw{}, err
	}
	return schema.Raw{ContentType: derType, Body: i.Certificate().Raw}, nil
}

func (m *mount) readIssuerPEM(ctx context.Context, _ *schema.Call, in issuerRef) (schema.Raw, error) {
	i, err := m.published(ctx, in.Ref)
	if err != nil {
		return schema.Raw{}, err
	}
	return schema.Raw{ContentType: pemType, Body: []byte(cert.CertificatePEM(i.Certificate().Raw))}, nil
}

// published finds an issuer for those who follow a URL in a certificate, see
// issuer.Set.Published.
func (m *mount) published(ctx context.Context, ref string) (*issuer.Issuer, error) {
	i, err := m.engine.Issuers.Published(ctx, ref)
	return i, missingIssuer(ref, err)
}

// missingIssuer gives reads of an issuer that is not there the status and text of
// the built-in engine: Terraform looks for that text, and takes a 404 for an empty
// answer, which it then reads.
func missingIssuer(ref string, err error) error {
	if fault.Is(err, fault.NotFound) {
		return logical.CodedError(http.StatusInternalServerError, "unable to find PKI issuer for reference: "+ref)
	}
	return err
}

// revokedIssuer is an issuer and when the CRL of the CA above shows its end, if that CA
// is here.
type revokedIssuer struct {
	issuerAnswer
	publication
}

func (m *mount) revokeIssuer(ctx context.Context, call *schema.Call, in issuerRef) (revokedIssuer, error) {
	revoked, warnings, err := m.engine.RevokeIssuer(ctx, in.Ref)
	if err != nil {
		return revokedIssuer{}, err
	}
	warn(call, warnings)
	answer := revokedIssuer{issuerAnswer: answerIssuer(revoked)}
	record, err := m.engine.Ledger.Get(ctx, revoked.Serial())
	if err == nil && bytes.Equal(record.DER, revoked.Certificate().Raw) { // else another CA has signed it
		if row, found, err := m.engine.Ledger.Row(revoked.Serial()); err == nil && found {
			answer.publication = m.publishesRow(ctx, call, row)
		}
	}
	return answer, nil
}

func (m *mount) activateIssuer(ctx context.Context, _ *schema.Call, in issuerRef) (issuerAnswer, error) {
	i, err := m.engine.Issuers.Activate(ctx, in.Ref)
	if err != nil {
		return issuerAnswer{}, err
	}
	return answerIssuer(i), nil
}

// retireInput names the issuer to retire, and the state that it gets.
type retireInput struct {
	issuerRef
	State string `json:"state" enum:"retiring|retired" default:"retiring" doc:"The state that the issuer gets. retiring: it signs CRLs and OCSP responses only. retired: the same, for the record, when no certificate of its CA lives."`
}

func (m *mount) retireIssuer(ctx context.Context, _ *schema.Call, in retireInput) (issuerAnswer, error) {
	i, err := m.engine.Issuers.Retire(ctx, in.Ref, issuer.State(in.State))
	if err != nil {
		return issuerAnswer{}, err
	}
	return answerIssuer(i), nil
}

func answerIssuer(i *issuer.Issuer) issuerAnswer {
	settings := i.Settings()
	answer := issuerAnswer{
		ID: i.ID(), CA: i.CA(), Name: i.Name(), State: string(i.State()), KeyID: i.KeyID(), Serial: i.Serial().String(),
		Chain:        answerForm{}.renderAll(i.Chain()),
		ManualChain:  settings.ManualChain,
		LeafNotAfter: settings.LeafNotAfter,
		Usage:        strings.Join(settings.Usage, ","),
		Publish:      cmp.Or(settings.Publish, issuer.PublishAuto), RevocationAlgorithm: settings.RevocationAlgorithm,
		IssuingCertificates: settings.IssuingCertificates,
		CRLDistribution:     settings.CRLDistribution,
		DeltaCRLs:           settings.DeltaCRLs,
		OCSPServers:         settings.OCSPServers,
		EnableAIATemplating: settings.EnableAIATemplating,
		PermittedProfiles:   settings.PermittedProfiles,
	}
	if key := i.Key(); key != (cert.Fingerprint{}) {
		answer.KeyHash = key.String()
	}
	if c := i.Certificate(); c != nil {
		answer.Certificate = cert.CertificatePEM(c.Raw)
	} else if csr := i.CSR(); csr != nil {
		answer.CSR = cert.CSRPEM(csr)
	}
	if at := i.RevokedAt(); !at.IsZero() {
		answer.Revoked, answer.RevocationTime, answer.RevocationRFC3339 = true, at.Unix(), rfc3339(at)
	}
	return answer
}
