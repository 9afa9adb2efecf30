package backend

import (
	"context"
	"crypto/x509"
	"encoding/hex"
	"fmt"
	"time"

	"vault-plugin-secrets-enterprise-pki/backend/cert"
	"vault-plugin-secrets-enterprise-pki/backend/crl"
	"vault-plugin-secrets-enterprise-pki/backend/fault"
	"vault-plugin-secrets-enterprise-pki/backend/feed"
	"vault-plugin-secrets-enterprise-pki/backend/issuer"
	"vault-plugin-secrets-enterprise-pki/backend/ledger"
	"vault-plugin-secrets-enterprise-pki/backend/role"
)

// Manifest is what an edge asks for every second: no storage operation once everything
// was read.
func (b *Backend) Manifest(ctx context.Context) (*feed.Manifest, error) {
	m := &feed.Manifest{}
	if cursor, err := b.Ledger.Cursor(); err == nil { // else it still loads
		m.Epoch, m.Sequence = cursor.Epoch, int64(cursor.Sequence)
	}
	issuers, err := b.Issuers.All(ctx) // what certificates point to is served, deleted or not
	if err != nil {
		return nil, err
	}
	parents := signing(issuers)
	for _, i := range issuers {
		described, err := b.describe(ctx, i)
		if err != nil {
			return nil, fmt.Errorf("describing issuer %s: %w", i.ID(), err)
		}
		if published(i, &described, parents) {
			m.Issuers = append(m.Issuers, described)
		}
	}
	if m.OCSP, err = b.answering(ctx); err != nil {
		return nil, err
	}
	if m.Publishers, err = b.publishers(ctx); err != nil {
		return nil, err
	}
	m.Repository, err = b.Publishers.Repository(ctx)
	return m, err
}

// signing returns the CAs of issuers whose keys are in the mount, and all CAs above them.
func signing(issuers []*issuer.Issuer) map[string]bool {
	found := map[string]bool{}
	for _, i := range issuers {
		if i.KeyID() == "" {
			continue
		}
		for _, certificate := range i.Chain() {
			found[cert.AuthorityID(certificate)] = true
		}
	}
	return found
}

// published reports whether edges show and serve an issuer. A CA certificate that came
// along with an import and has to do with no issuer of this mount must not be offered to
// relying parties as one to trust.
func published(i *issuer.Issuer, described *feed.Issuer, signing map[string]bool) bool {
	switch i.Settings().Publish {
	case issuer.PublishAlways:
		return true
	case issuer.PublishNever:
		return false
	}
	return described.Imported || signing[cert.AuthorityID(i.Certificate())]
}

// describe tells an edge of one issuer.
func (b *Backend) describe(ctx context.Context, i *issuer.Issuer) (feed.Issuer, error) {
	told := feed.Issuer{
		ID: i.ID(), Name: i.Name(), Certificate: cert.CertificatePEM(i.Certificate().Raw),
		CA: i.CA(), Deleted: i.State() == issuer.Deleted,
	}
	for use, says := range map[issuer.Usage]*bool{issuer.CRLSigning: &told.CRLSigning, issuer.OCSPSigning: &told.OCSP} {
		_, err := b.Issuers.Signer(ctx, i.CA(), use)
		if *says = err == nil; err != nil && !fault.Is(err, fault.Denied) {
			return feed.Issuer{}, err
		}
	}
	for _, above := range i.Chain()[1:] {
		told.Chain = append(told.Chain, cert.CertificatePEM(above.Raw))
	}
	lists, err := b.CRL.Heads(ctx, i.ID())
	if err != nil {
		return feed.Issuer{}, err
	}
	for _, list := range lists {
		told.Lists = append(told.Lists, listOf(&list))
	}
	if err := b.locate(ctx, i, &told); err != nil {
		return feed.Issuer{}, err
	}
	told.Imported = !told.CRLSigning && len(lists) > 0
	return told, nil
}

func listOf(list *crl.Named) feed.List {
	head := &list.Head
	told := feed.List{
		Kind: string(list.Kind), Number: head.Number, BaseNumber: head.Base,
		ThisUpdate: head.ThisUpdate.UTC().Format(time.RFC3339), NextUpdate: head.NextUpdate.UTC().Format(time.RFC3339),
		Size: int64(head.Size), SHA256: hex.EncodeToString(head.SHA256), URLs: append([]string{}, list.URLs...),
	}
	if head.CRL != nil {
		told.CRLNumber = head.CRL.String()
	}
	if list.Kind.IsShard() {
		told.Kind, told.Shard = string(feed.Shard), string(list.Kind)
	}
	return told
}

// answering tells an edge how to answer OCSP requests.
func (b *Backend) answering(ctx context.Context) (feed.OCSP, error) {
	options, err := b.OCSP.Options(ctx)
	if err != nil {
		return feed.OCSP{}, err
	}
	config, err := b.CRL.OCSP(ctx)
	if err != nil {
		return feed.OCSP{}, err
	}
	return feed.OCSP{
		Disabled: config.Disabled, Expiry: int64(config.Expiry / time.Second), Backdate: int64(config.Backdate / time.Second), NeverIssued: options.NeverIssued,
		Nonce: options.Nonce, SHA1: options.SHA1, ArchiveCutoff: options.ArchiveCutoff,
	}, nil
}

// publishers tells an edge what to publish. A name of an issuer that is gone stays as
// it is, and means none: without it, an empty list would mean all.
func (b *Backend) publishers(ctx context.Context) ([]feed.Publisher, error) {
	all, err := b.Publishers.All(ctx)
	if err != nil {
		return nil, err
	}
	for at := range all {
		ids := make([]string, 0, len(all[at].Issuers))
		for _, ref := range all[at].Issuers {
			i, err := b.Issuers.Published(ctx, ref)
			switch {
			case err == nil:
				ref = i.ID()
			case !fault.Is(err, fault.NotFound):
				return nil, err
			}
			ids = append(ids, ref)
		}
		all[at].Issuers = ids
	}
	return all, nil
}

// AllIssuers is the issuer of Status that means every one.
const AllIssuers = "-"

// Status returns a page of the status feed, of one issuer or of AllIssuers.
func (b *Backend) Status(ctx context.Context, ref string, since ledger.Cursor, limit int) (*feed.Status, error) {
	only := ""
	if ref != AllIssuers {
		i, err := b.Issuers.Published(ctx, ref)
		if err != nil {
			return nil, err
		}
		only = i.CA()
	}
	changes, err := b.Ledger.Changes(since, limit)
	if err != nil {
		return nil, err
	}
	rows := make([]feed.Row, 0, len(changes.Rows))
	for at := range changes.Rows {
		row := &changes.Rows[at]
		// A root is on record under no issuer, and nobody asks who revoked it.
		if row.Issuer == "" {
			continue
		}
		by, err := b.Issuers.Current(ctx, row.Issuer)
		if err != nil {
			return nil, err
		}
		told := statusOf(row)
		if by != nil {
			told.Issuer = by.ID()
		}
		if only == "" || by != nil && by.CA() == only {
			rows = append(rows, told)
		}
	}
	text, err := feed.Text(rows)
	if err != nil {
		return nil, err
	}
	return &feed.Status{
		Epoch: changes.Next.Epoch, Sequence: int64(changes.Next.Sequence), More: changes.More, Reset: changes.Reset,
		Count: len(rows), Rows: text,
	}, nil
}

// statusOf is a row as the feed has it.
func statusOf(r *ledger.Row) feed.Row {
	row := feed.Row{Serial: r.Serial, Issuer: r.Issuer, State: feed.Good, NotAfter: r.NotAfter, Sequence: r.Sequence}
	if !r.RevokedAt.IsZero() {
		row.State, row.RevokedAt, row.InvalidityAt, row.Reason = feed.Revoked, r.RevokedAt, r.Invalidity, r.Reason
		if !r.Reason.Known() || r.Reason == cert.RemoveFromCRL {
			row.Reason = cert.Unspecified // must not hide the revocation
		}
	}
	return row
}

// EdgeSigner certifies an edge's own key as a delegated OCSP responder of an issuer.
// Of the request only the key counts, whose possession it proves.
func (b *Backend) EdgeSigner(ctx context.Context, ref string, csr []byte, who role.Identity) (*x509.Certificate, *issuer.Issuer, error) {
	request, err := cert.ParseCSR(csr)
	if err != nil {
		return nil, nil, err
	}
	named, err := b.Issuers.Published(ctx, ref)
	if err != nil {
		return nil, nil, err
	}
	i, err := b.Issuers.Signer(ctx, named.CA(), issuer.OCSPSigning)
	if err != nil {
		return nil, nil, err
	}
	validity, err := b.OCSP.Validity(ctx)
	if err != nil {
		return nil, nil, err
	}
	signed, err := b.Issue.Delegate(ctx, i, request.PublicKey, validity, who)
	return signed, i, err
}
