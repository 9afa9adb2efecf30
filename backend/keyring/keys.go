package keyring

import (
	"context"
	"crypto"
	"crypto/rand"
	"crypto/x509"
	"encoding/pem"
	"fmt"
	"strings"
	"time"

	"vault-plugin-secrets-enterprise-pki/backend/cert"
	"vault-plugin-secrets-enterprise-pki/backend/fault"
)

// exportWindow is how long a new key may be exported.
const exportWindow = time.Minute

// Generate makes a key: in the token named token, or in storage when token is "".
// Unavailable when the token cannot be reached: a key for a token is never made
// in software instead.
//
// If we crash after the token has made the key and before its record is written,
// the token holds a pair under this mount's prefix that no record names. Nothing
// refers to it; Sweep reports it.
func (r *Ring) Generate(ctx context.Context, name string, spec cert.KeySpec, token string) (*Key, error) {
	release, err := r.reserve(ctx, name)
	if err != nil {
		return nil, err
	}
	defer release()
	made, err := r.make(ctx, spec, token)
	if err != nil {
		return nil, err
	}
	made.Name, made.CreatedAt = name, r.today()

	r.writing.Lock()
	defer r.writing.Unlock()
	if err := r.add(ctx, made); err != nil {
		if token != "" {
			r.log.Warn("a key in a token may have no record", "token", token, "cka_id", fmt.Sprintf("%x", made.TokenID))
		}
		return nil, err
	}
	if token == "" {
		r.freshen(made.ID)
	}
	r.log.Info("generated key", "id", made.ID, "spec", spec.String(), "token", token)
	return made.Key.clone(), nil
}

// reserve checks a name and keeps it from others until release.
func (r *Ring) reserve(ctx context.Context, name string) (release func(), err error) {
	r.writing.Lock()
	defer r.writing.Unlock()
	i, err := r.load(ctx)
	if err != nil {
		return nil, err
	}
	if err := r.checkName(i, name, ""); err != nil {
		return nil, err
	}
	if name == "" {
		return func() {}, nil
	}
	folded := strings.ToLower(name)
	r.reserved[folded] = struct{}{}
	return func() {
		r.writing.Lock()
		defer r.writing.Unlock()
		delete(r.reserved, folded)
	}, nil
}

// make makes the record of a new key with its id, public and private part.
func (r *Ring) make(ctx context.Context, spec cert.KeySpec, token string) (*record, error) {
	if token != "" {
		return r.makeInToken(ctx, spec, token)
	}
	key, err := cert.GenerateKey(spec)
	if err != nil {
		return nil, err
	}
	return softwareRecord(key)
}

// softwareRecord returns the record of a key in memory.
func softwareRecord(key crypto.Signer) (*record, error) {
	spec, err := cert.KeySpecOf(key.Public())
	if err != nil {
		return nil, err
	}
	spki, err := cert.SPKI(key.Public())
	if err != nil {
		return nil, err
	}
	pkcs8, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		return nil, fmt.Errorf("encoding private key: %w", err)
	}
	return &record{Key: Key{ID: newID(), Spec: spec, SPKI: spki}, PKCS8: pkcs8}, nil
}

// newID returns a random UUID, version 4 (RFC 9562 section 5.4).
func newID() string {
	var b [16]byte
	_, _ = rand.Read(b[:]) // never fails: crypto/rand ends the process instead
	b[6], b[8] = b[6]&0x0f|0x40, b[8]&0x3f|0x80
	return fmt.Sprintf("%x-%x-%x-%x-%x", b[:4], b[4:6], b[6:8], b[8:10], b[10:])
}

// add writes a new key's record and publishes the key. While there is no default key,
// a new one becomes it, as in the built-in engine. The caller holds writing.
//
// If we crash between the two writes, the default names a key that is not there,
// which counts as none.
func (r *Ring) add(ctx context.Context, stored *record) error {
	i, err := r.load(ctx)
	if err != nil {
		return err
	}
	if i.byID[i.chosen] != nil {
		return r.put(ctx, stored)
	}
	key := stored.Key
	return r.change(ctx,
		func(ctx context.Context) error {
			if err := r.config.Put(ctx, "", &defaults{Default: key.ID}); err != nil {
				return err
			}
			return r.keys.Put(ctx, key.ID, stored)
		},
		func(i *index) *index { return newIndex(append(i.others(key.ID), &key), i.tokens, key.ID) })
}

// put writes a record and publishes its key. The caller holds writing.
func (r *Ring) put(ctx context.Context, stored *record) error {
	key := stored.Key
	return r.change(ctx,
		func(ctx context.Context) error { return r.keys.Put(ctx, key.ID, stored) },
		func(i *index) *index { return i.withKey(&key) })
}

// Import stores a PEM private key (PKCS#8, PKCS#1 or SEC 1) after CheckKey. When the
// key is there already, it returns that one, unchanged, and existing true.
func (r *Ring) Import(ctx context.Context, name string, text []byte) (key *Key, existing bool, err error) {
	if err := CheckImport(text); err != nil {
		return nil, false, err
	}
	private, err := ParsePrivateKey(text)
	if err != nil {
		return nil, false, err
	}
	made, err := softwareRecord(private)
	if err != nil {
		return nil, false, err
	}
	made.Name, made.CreatedAt = name, r.today()

	r.writing.Lock()
	defer r.writing.Unlock()
	i, err := r.load(ctx)
	if err != nil {
		return nil, false, err
	}
	if same := i.byPublic[made.Fingerprint()]; same != nil {
		return same.clone(), true, nil
	}
	if err := r.checkName(i, name, ""); err != nil {
		return nil, false, err
	}
	if err := r.add(ctx, made); err != nil {
		return nil, false, err
	}
	r.log.Info("imported key", "id", made.ID, "spec", made.Spec.String())
	return made.Key.clone(), false, nil
}

// CheckImport refuses a private key that Import would refuse for its own sake, and
// writes nothing: for callers that import several or none.
func CheckImport(text []byte) error {
	private, err := ParsePrivateKey(text)
	if err != nil {
		return err
	}
	if err := cert.CheckKey(private.Public()); err != nil {
		return fmt.Errorf("importing key: %w", err)
	}
	return nil
}

// maxPEM is the largest private key text that is parsed, in octets: an RSA-8192 key
// in PKCS#8 has less than half of it.
const maxPEM = 16 << 10

// ParsePrivateKey reads one private key in PEM (PKCS#8, PKCS#1 or SEC 1) and nothing
// else. Its messages never repeat what was sent.
func ParsePrivateKey(text []byte) (crypto.Signer, error) {
	if len(text) > maxPEM {
		return nil, fault.FieldOf(fault.TooLarge, "pem_bundle", "a private key has at most %d bytes", maxPEM)
	}
	block, rest := pem.Decode(text)
	if block != nil && block.Type == "EC PARAMETERS" { // openssl ecparam -genkey
		block, rest = pem.Decode(rest)
	}
	if block == nil {
		return nil, fault.Field("pem_bundle", "must be a private key in PEM")
	}
	if next, _ := pem.Decode(rest); next != nil {
		return nil, fault.Field("pem_bundle", "must be one private key and nothing else")
	}
	parsed, err := parseBlock(block)
	if err != nil {
		return nil, err
	}
	key, ok := parsed.(crypto.Signer)
	if !ok {
		return nil, fault.Field("pem_bundle", "keys of this type cannot sign")
	}
	return key, nil
}

// parseBlock decodes the private key of a PEM block.
func parseBlock(block *pem.Block) (crypto.PrivateKey, error) {
	var key crypto.PrivateKey
	var err error
	switch block.Type {
	case "PRIVATE KEY":
		key, err = x509.ParsePKCS8PrivateKey(block.Bytes)
	case "RSA PRIVATE KEY":
		key, err = x509.ParsePKCS1PrivateKey(block.Bytes)
	case "EC PRIVATE KEY":
		key, err = x509.ParseECPrivateKey(block.Bytes)
	case "ENCRYPTED PRIVATE KEY":
		return nil, fault.Field("pem_bundle", "the private key must not be encrypted; use response wrapping to protect it on its way")
	default:
		return nil, fault.Field("pem_bundle", "must be a private key in PKCS#8, PKCS#1 or SEC 1")
	}
	if err != nil || block.Headers["DEK-Info"] != "" {
		return nil, fault.Field("pem_bundle", "the private key is malformed or encrypted, or its algorithm is not supported")
	}
	return key, nil
}

// Rename gives a key another name, which must be unused; "" takes the name away.
// NotFound when there is no such key.
func (r *Ring) Rename(ctx context.Context, id, name string) (*Key, error) {
	r.writing.Lock()
	defer r.writing.Unlock()
	i, err := r.load(ctx)
	if err != nil {
		return nil, err
	}
	key := i.byID[id]
	if key == nil {
		return nil, notFound(id)
	}
	if key.Name == name {
		return key.clone(), nil
	}
	if err := r.checkName(i, name, id); err != nil {
		return nil, err
	}
	stored, err := r.read(ctx, id)
	if err != nil {
		return nil, err
	}
	stored.Name = name
	if err := r.put(ctx, stored); err != nil {
		return nil, err
	}
	return stored.Key.clone(), nil
}

// read returns a key's record. NotFound when another node has deleted it.
func (r *Ring) read(ctx context.Context, id string) (*record, error) {
	stored, err := r.keys.Get(ctx, id)
	if err != nil {
		return nil, err
	}
	if stored == nil {
		return nil, notFound(id)
	}
	return stored, nil
}

// Delete removes a key from the ring: its record, and for a storage key the key. A
// token key stays in the token (Destroy removes it there as well). A key that is
// not there is no error.
func (r *Ring) Delete(ctx context.Context, id string) error {
	r.writing.Lock()
	defer r.writing.Unlock()
	err := r.change(ctx,
		func(ctx context.Context) error { return r.keys.Delete(ctx, id) },
		func(i *index) *index { return i.withoutKey(id) })
	r.caches.Lock()
	defer r.caches.Unlock()
	delete(r.caches.signers, id)
	delete(r.caches.fresh, id)
	if err == nil {
		r.log.Info("deleted key", "id", id)
	}
	return err
}

// freshen allows a key to be exported for a while.
func (r *Ring) freshen(id string) {
	r.caches.Lock()
	defer r.caches.Unlock()
	r.caches.fresh[id] = struct{}{}
	time.AfterFunc(exportWindow, func() {
		r.caches.Lock()
		defer r.caches.Unlock()
		delete(r.caches.fresh, id)
	})
}

// Export returns the PKCS#8 PEM of a storage key, once and within a minute after
// Generate made it, and records that it has left. It is the only way out, for
// keys/generate/exported; Denied for every other key.
func (r *Ring) Export(ctx context.Context, id string) (string, error) {
	r.caches.Lock()
	_, fresh := r.caches.fresh[id]
	delete(r.caches.fresh, id)
	r.caches.Unlock()
	if !fresh {
		return "", fault.New(fault.Denied, "key %s cannot be exported: only a key in storage can, once, right after it was generated for that", id)
	}
	r.writing.Lock()
	defer r.writing.Unlock()
	stored, err := r.read(ctx, id)
	if err != nil {
		return "", err
	}
	// Recorded before it is released: no exported key may pass for one that never left.
	stored.Exported = true
	if err := r.put(ctx, stored); err != nil {
		return "", err
	}
	r.log.Info("exported private key", "id", id)
	return string(pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: stored.PKCS8})), nil
}

// DefaultKey returns the id of the default key, "" when there is none.
func (r *Ring) DefaultKey(ctx context.Context) (string, error) {
	i, err := r.view(ctx)
	if err != nil || i.byID[i.chosen] == nil { // none, or deleted since it was chosen
		return "", err
	}
	return i.chosen, nil
}

// SetDefaultKey sets the default key by id or name and returns its id. NotFound
// when there is no such key.
func (r *Ring) SetDefaultKey(ctx context.Context, ref string) (string, error) {
	r.writing.Lock()
	defer r.writing.Unlock()
	i, err := r.load(ctx)
	if err != nil {
		return "", err
	}
	key, err := i.find(ref)
	if err != nil {
		return "", err
	}
	err = r.change(ctx,
		func(ctx context.Context) error { return r.config.Put(ctx, "", &defaults{Default: key.ID}) },
		func(i *index) *index { return newIndex(i.keys, i.tokens, key.ID) })
	return key.ID, err
}
