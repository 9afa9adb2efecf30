package backend

import (
	"context"

	"vault-plugin-secrets-enterprise-pki/backend/keyring"
)

// ImportKey stores a private key in PEM for CAs of this mount after it passed the gate
// for their keys. One that is there already is returned unchanged, existing true.
func (b *Backend) ImportKey(ctx context.Context, name string, text []byte) (key *keyring.Key, existing bool, err error) {
	if err := b.Issuers.AdmitImport(ctx, text); err != nil {
		return nil, false, err
	}
	return b.Ring.Import(ctx, name, text)
}

// AdoptKey records a key that is in a token for CAs of this mount after it passed the
// gate for their keys.
func (b *Backend) AdoptKey(ctx context.Context, ask keyring.Adoption) (*keyring.Key, keyring.Adopted, error) {
	ask.Admit = b.Issuers.AdmitKey
	key, did, err := b.Ring.Adopt(ctx, ask)
	if did == keyring.MovedKey {
		b.Issuers.Invalidate() // its authorities look for the key where it was
	}
	return key, did, err
}
