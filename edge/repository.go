package edge

import (
	"context"
	"io"
	"time"

	"vault-plugin-secrets-enterprise-pki/backend/feed"
	"vault-plugin-secrets-enterprise-pki/edge/disk"
	"vault-plugin-secrets-enterprise-pki/edge/mirror"
	"vault-plugin-secrets-enterprise-pki/edge/page"
	"vault-plugin-secrets-enterprise-pki/edge/state"
	"vault-plugin-secrets-enterprise-pki/edge/vault"
)

// repository is the page.Source of a mirror.
type repository struct {
	mirror *mirror.Mirror
	url    string
	now    func() time.Time
}

// Repository returns what the newest snapshot says.
func (r repository) Repository() page.Repository {
	snapshot := r.mirror.Snapshot()
	shown := page.Repository{
		Organization: snapshot.Manifest.Organization, BaseURL: r.url,
		Synchronized: snapshot.Synced, StalenessLimit: snapshot.Limit(), Now: r.now(),
	}
	for _, document := range snapshot.Manifest.Documents {
		shown.Documents = append(shown.Documents, page.Document(document))
	}
	for _, issuer := range snapshot.Issuers {
		one := page.Issuer{ID: issuer.ID, Name: issuer.Name, Certificate: issuer.Certificate, OCSP: issuer.OCSP && !snapshot.Manifest.OCSP.Disabled, Signs: issuer.CRLSigning}
		for _, list := range issuer.Lists {
			one.Lists = append(one.Lists, page.List{
				Kind: string(list.Kind), Shard: list.Shard, Number: list.CRL(),
				ThisUpdate: list.ThisUpdate, NextUpdate: list.NextUpdate, Size: int(list.Size),
			})
		}
		shown.Issuers = append(shown.Issuers, one)
	}
	return shown
}

// published is the publish.Source of a mirror.
type published struct {
	mirror *mirror.Mirror
	folder *disk.Folder
}

// Manifest returns the newest manifest with the lists that are held in place of those
// that it announces.
func (p published) Manifest() (*feed.Manifest, <-chan struct{}) {
	snapshot, changed := p.mirror.Changed()
	if snapshot.Issuers == nil {
		return nil, changed
	}
	manifest := snapshot.Manifest
	manifest.Issuers = make([]feed.Issuer, 0, len(snapshot.Issuers))
	for _, announced := range snapshot.Manifest.Issuers {
		issuer := snapshot.ByID(announced.ID)
		if issuer == nil {
			continue
		}
		announced.Lists = listsOf(issuer)
		manifest.Issuers = append(manifest.Issuers, announced)
	}
	return &manifest, changed
}

func listsOf(issuer *state.Issuer) []feed.List {
	var lists []feed.List
	for _, list := range issuer.Lists {
		lists = append(lists, feed.List{
			Kind: string(list.Kind), Shard: list.Shard, Number: list.Number, CRLNumber: list.CRLNumber, BaseNumber: list.BaseNumber,
			ThisUpdate: list.ThisUpdate.UTC().Format(time.RFC3339), NextUpdate: list.NextUpdate.UTC().Format(time.RFC3339),
			Size: list.Size, SHA256: list.SHA256, URLs: list.URLs,
		})
	}
	return lists
}

// List returns a list by its hash.
func (p published) List(digest string) ([]byte, error) {
	file, err := p.folder.OpenList(digest)
	if err != nil {
		return nil, err
	}
	defer file.Close()
	return io.ReadAll(file)
}

// reporter is the publish.Reporter of a client.
type reporter struct {
	client *vault.Client
	edge   string
}

// Report tells the mount what became of items.
func (r reporter) Report(ctx context.Context, publisher string, items []feed.ReportItem) error {
	return r.client.Report(ctx, publisher, feed.Report{Edge: r.edge, Items: items})
}
