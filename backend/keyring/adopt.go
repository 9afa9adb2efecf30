package keyring

import (
	"bytes"
	"context"
	"crypto"
	"fmt"
	"regexp"

	"vault-plugin-secrets-enterprise-pki/backend/cert"
	"vault-plugin-secrets-enterprise-pki/backend/fault"
	"vault-plugin-secrets-enterprise-pki/backend/hsm"
)

// Adoption names a key that is in a token already.
type Adoption struct {
	Name  string // of the key in the ring, may be ""
	Token string
	ID    []byte // CKA_ID
	Label string // CKA_LABEL; one of ID and Label may be empty
	// FromOtherMount allows a key that another mount of this engine made. That mount
	// can go on using it: adoption takes nothing away.
	FromOtherMount bool
	// Admit refuses public keys that must not become a CA's.
	Admit func(ctx context.Context, key cert.Fingerprint) error
}

// Adopted says what Adopt did.
type Adopted int

// What Adopt did.
const (
	NewKey   Adopted = iota // the ring has a record of it now
	SameKey                 // the ring had it, at the same place
	MovedKey                // the ring had it; its record names the new place
)

// Adopt records a key pair that is in a token: one that another tool made, that was
// deleted from the ring, or whose CKA_ID is another after the token was restored. From
// then on it belongs to this mount like the keys that the mount made (hsm-3), and a
// certificate of its public key that is imported is an issuer. The private key proves
// that it belongs to the public key which is recorded.
//
// The CKA_ID of a key that another mount made is refused unless FromOtherMount says so.
func (r *Ring) Adopt(ctx context.Context, ask Adoption) (*Key, Adopted, error) {
	if r.mount == "" {
		return nil, 0, fault.New(fault.Internal, "keys in tokens need the id of the mount")
	}
	token, err := r.token(ctx, ask.Token)
	if err != nil {
		return nil, 0, err
	}
	signer, found, err := token.Look(ctx, ask.ID, ask.Label)
	if err != nil {
		return nil, 0, fmt.Errorf("adopting a key of token %s: %w", ask.Token, err)
	}
	if madeByMount(found) && !bytes.HasPrefix(found.ID, r.mountPrefix()) && !ask.FromOtherMount {
		return nil, 0, fault.FieldOf(fault.Denied, "key_id", "%x was made by another mount, which may use it: adopt it with from_other_mount=true if this mount shall use it too", found.ID)
	}
	made, err := r.adoptedRecord(signer.Public(), found, ask)
	if err != nil {
		return nil, 0, err
	}
	i, err := r.view(ctx)
	if err != nil {
		return nil, 0, err
	}
	if i.byPublic[made.Fingerprint()] == nil {
		if err := ask.Admit(ctx, made.Fingerprint()); err != nil {
			return nil, 0, err
		}
	}
	r.writing.Lock()
	defer r.writing.Unlock()
	return r.record(ctx, made)
}

// adoptedRecord returns the record of a key that was found.
func (r *Ring) adoptedRecord(pub crypto.PublicKey, found hsm.Found, ask Adoption) (*record, error) {
	if err := cert.CheckKey(pub); err != nil {
		return nil, fmt.Errorf("adopting a key of token %s: %w", ask.Token, err)
	}
	spec, err := cert.KeySpecOf(pub)
	if err != nil {
		return nil, err
	}
	spki, err := cert.SPKI(pub)
	if err != nil {
		return nil, err
	}
	made := &record{Key: Key{
		ID: newID(), Name: ask.Name, Spec: spec, SPKI: spki, Token: ask.Token, TokenID: found.ID,
		AdoptedBy: r.mountPrefix(), Evidence: &found.Evidence, CreatedAt: r.today(),
	}}
	if len(found.ID) == 0 {
		made.TokenLabel = found.Label
	}
	return made, nil
}

// record writes an adopted key, or, for a key that is in the ring, where it is now. The
// caller holds writing.
func (r *Ring) record(ctx context.Context, made *record) (*Key, Adopted, error) {
	i, err := r.load(ctx)
	if err != nil {
		return nil, 0, err
	}
	same := i.byPublic[made.Fingerprint()]
	switch {
	case same == nil:
		if err := r.checkName(i, made.Name, ""); err != nil {
			return nil, 0, err
		}
		if err := r.add(ctx, made); err != nil {
			return nil, 0, err
		}
		r.log.Info("adopted key", "id", made.ID, "token", made.Token, "cka_id", fmt.Sprintf("%x", made.TokenID))
		return made.Key.clone(), NewKey, nil
	case same.Token == "":
		return nil, 0, fault.New(fault.Conflict, "the key is in Vault's storage already, as key %s: a CA uses one of the two", same.ID)
	case same.Token == made.Token && bytes.Equal(same.TokenID, made.TokenID) && same.TokenLabel == made.TokenLabel:
		return same.clone(), SameKey, nil
	}
	made.ID, made.Name, made.CreatedAt = same.ID, same.Name, same.CreatedAt
	if err := r.put(ctx, made); err != nil {
		return nil, 0, err
	}
	r.caches.Lock()
	delete(r.caches.signers, made.ID)
	r.caches.Unlock()
	r.log.Info("recorded where an adopted key is now", "id", made.ID, "token", made.Token, "cka_id", fmt.Sprintf("%x", made.TokenID))
	return made.Key.clone(), MovedKey, nil
}

// madeLabel is the CKA_LABEL of the keys that a mount makes.
var madeLabel = regexp.MustCompile(`^pki [0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}$`)

// madeByMount reports whether some mount of this engine made a key: tokens let nobody
// change its CKA_ID and CKA_LABEL.
func madeByMount(found hsm.Found) bool {
	return len(found.ID) == 24 && madeLabel.MatchString(found.Label)
}
