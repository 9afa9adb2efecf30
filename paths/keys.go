package paths

import (
	"context"
	"encoding/hex"
	"strings"

	"github.com/hashicorp/vault/sdk/framework"

	"vault-plugin-secrets-enterprise-pki/backend"
	"vault-plugin-secrets-enterprise-pki/backend/cert"
	"vault-plugin-secrets-enterprise-pki/backend/fault"
	"vault-plugin-secrets-enterprise-pki/backend/keyring"
	"vault-plugin-secrets-enterprise-pki/paths/schema"
)

const keyHelp = `
Keys belong to issuers. A key has an id and an optional name, and is in Vault's storage
or in a PKCS#11 token. The engine uses the key and does not return it.
keys/generate/exported returns a new private key once.
`

const adoptHelp = `
Records a key pair that is in a token already, so that CAs of this mount can use it: a
key that another tool made (pkcs11-tool, keytool), one that was deleted from this mount
and stayed in the token, or one whose CKA_ID changed when the token was restored. Name
the token with hsm, and the key with key_id or key_label. Exactly one private key must
match. Its public key or certificate must be beside it in the token. The private key
makes a test signature, which the public key must verify. Import the CA certificate of
the key afterwards: it becomes an issuer of this mount. A key that another mount of this
engine made needs from_other_mount=true. Adoption takes nothing away: whoever has the
token's PIN can still use the key. This path needs sudo.
`

// keyRow is a key in a list.
type keyRow struct {
	Name    string `json:"key_name" doc:"Name of the key."`
	Default bool   `json:"is_default" doc:"Whether this is the default key."`
}

type keyRef struct {
	Ref string `json:"key_ref" in:"path" kind:"ref" doc:"Id or name of the key, or default."`
}

type keyDelete struct {
	keyRef
	Force bool `json:"force" default:"false" doc:"Whether to delete a key although certificates that it signed have not expired: there will be no CRL and no OCSP response for them."`
}

type keyRename struct {
	keyRef
	Name string `json:"key_name" kind:"name" doc:"Name of the key; no other key may have it."`
}

// keyAnswer is a key without its private part.
type keyAnswer struct {
	ID           string       `json:"key_id" doc:"Id of the key."`
	Name         string       `json:"key_name" doc:"Name of the key."`
	Type         string       `json:"key_type" doc:"rsa, ec or ed25519."`
	Bits         int          `json:"key_bits" doc:"Size of the key in bits; 0 for ed25519."`
	SubjectKeyID string       `json:"subject_key_id" doc:"Key identifier that certificates of this key carry (RFC 7093 section 2 method 1), hexadecimal with colons."`
	KeyHash      string       `json:"key_sha256" doc:"SHA-256 of the public key (SubjectPublicKeyInfo), hexadecimal with colons: the value that pki-ceremony prints."`
	TokenName    string       `json:"managed_key_name,omitempty" doc:"Token that holds the key; absent for keys in storage."`
	TokenKeyID   string       `json:"managed_key_id,omitempty" doc:"CKA_ID of the key in its token, hexadecimal with colons."`
	Evidence     *keyEvidence `json:"evidence,omitempty" doc:"Attributes of the private key as the token reported them when it generated the key. They are statements of its library, not proofs."`
	PrivateKey   string       `json:"private_key,omitempty" doc:"Private key, PKCS#8 PEM; only in the response of keys/generate/exported."`
}

// keyEvidence is hsm.Evidence with its documentation.
type keyEvidence struct {
	Local            bool `json:"local" doc:"CKA_LOCAL: the token generated the key."`
	AlwaysSensitive  bool `json:"always_sensitive" doc:"CKA_ALWAYS_SENSITIVE."`
	NeverExtractable bool `json:"never_extractable" doc:"CKA_NEVER_EXTRACTABLE."`
	Sensitive        bool `json:"sensitive" doc:"CKA_SENSITIVE."`
	Extractable      bool `json:"extractable" doc:"CKA_EXTRACTABLE."`
	Elsewhere        bool `json:"generated_elsewhere" doc:"Whether the key was adopted: this mount did not see it being made, and copies may exist."`
}

type keyGenerate struct {
	Where string `json:"exported" in:"path" enum:"internal|exported|kms" doc:"internal: in storage, never shown; exported: in storage, shown once; kms: in the token that hsm names."`
	Name  string `json:"key_name" kind:"name" doc:"Name of the key; no other key may have it."`
	Type  string `json:"key_type" enum:"rsa|ec|ed25519" default:"rsa" doc:"Type of the key."`
	Bits  int    `json:"key_bits" default:"0" min:"0" max:"4096" doc:"Size of the key in bits: 2048, 3072 or 4096 for rsa, 256, 384 or 521 for ec; 0 for 2048 or 256."`
	HSM   string `json:"hsm" alias:"managed_key_name" kind:"name" doc:"Token in which to generate the key, for kms only."`
}

type keyImport struct {
	PEM  string `json:"pem_bundle" kind:"secret" required:"true" doc:"One private key in PEM: PKCS#8, PKCS#1 or SEC 1."`
	Name string `json:"key_name" kind:"name" doc:"Name of the key; no other key may have it."`
}

type keyAdopt struct {
	HSM   string `json:"hsm" alias:"managed_key_name" kind:"name" required:"true" doc:"Token that holds the key; list them with: vault list MOUNT/hsm."`
	ID    string `json:"key_id" max:"1024" doc:"CKA_ID of the key in the token, hexadecimal with or without colons. key_id or key_label is required."`
	Label string `json:"key_label" max:"255" doc:"CKA_LABEL of the key in the token. It is refused when several private keys have it; the answer lists their CKA_IDs."`
	Name  string `json:"key_name" kind:"name" doc:"Name of the key in this mount; no other key may have it."`
	Other bool   `json:"from_other_mount" default:"false" doc:"Whether to take a key that another mount of this engine made. That mount can go on using it."`
}

type keyConfig struct {
	Default string `json:"default" kind:"ref" required:"true" doc:"Id or name of the default key."`
}

type keyConfigAnswer struct {
	Default string `json:"default" doc:"Id of the default key, or empty."`
}

func (m *mount) keyPaths() []*framework.Path {
	return []*framework.Path{
		schema.Path("keys/?", "List the keys.", keyHelp,
			schema.List("List the ids of all keys.", m.listKeys)),
		schema.Path("key/"+schema.Segment("key_ref"), "Read, rename or delete a key.", keyHelp,
			schema.Read("Read what is known of a key.", m.readKey),
			schema.Write("Rename a key.", m.renameKey),
			schema.Patch("Rename a key.", m.renameKey),
			schema.Delete("Delete a key and the pending issuers that wait for its certificate. A key in a token stays there.", m.deleteKey)),
		schema.Path("keys/generate/(?P<exported>internal|exported|kms)", "Generate a key.", keyHelp,
			schema.Write("Generate a key.", m.generateKey)),
		schema.Path("keys/import", "Import a private key.", keyHelp,
			schema.Write("Import a private key.", m.importKey)),
		schema.Path("keys/import/kms", "Adopt a key that is in a token.", adoptHelp,
			schema.Write("Adopt a key that is in a token.", m.adoptKey)),
		schema.Path("config/keys", "Choose the default key.", "The default key is the one that the reference default names.",
			schema.Read("Read which key is the default.", m.readKeyConfig),
			schema.Write("Choose the default key.", m.writeKeyConfig),
			schema.Patch("Choose the default key.", m.writeKeyConfig)),
	}
}

func (m *mount) listKeys(ctx context.Context, _ *schema.Call, in schema.Page) (schema.KeyInfo[keyRow], error) {
	keys, err := m.engine.Ring.List(ctx)
	if err != nil {
		return schema.KeyInfo[keyRow]{}, err
	}
	chosen, err := m.engine.Ring.DefaultKey(ctx)
	if err != nil {
		return schema.KeyInfo[keyRow]{}, err
	}
	ids, rows := make([]string, 0, len(keys)), make(map[string]keyRow, len(keys))
	for _, key := range keys {
		ids = append(ids, key.ID)
		rows[key.ID] = keyRow{Name: key.Name, Default: key.ID == chosen}
	}
	return schema.NewKeyInfo(in, ids, rows), nil
}

func (m *mount) readKey(ctx context.Context, _ *schema.Call, in keyRef) (keyAnswer, error) {
	key, err := m.engine.Ring.Get(ctx, in.Ref)
	if err != nil {
		return keyAnswer{}, err
	}
	return answerKey(key)
}

func (m *mount) renameKey(ctx context.Context, call *schema.Call, in keyRename) (keyAnswer, error) {
	key, err := m.engine.Ring.Get(ctx, in.Ref)
	if err != nil {
		return keyAnswer{}, err
	}
	if call.Given.Has("key_name") {
		if key, err = m.engine.Ring.Rename(ctx, key.ID, in.Name); err != nil {
			return keyAnswer{}, err
		}
	}
	return answerKey(key)
}

func (m *mount) deleteKey(ctx context.Context, call *schema.Call, in keyDelete) (schema.None, error) {
	warnings, err := m.engine.DeleteKey(ctx, backend.KeyDeletion{Ref: in.Ref, Force: in.Force})
	if fault.Is(err, fault.NotFound) {
		return schema.None{}, nil
	}
	warn(call, warnings)
	return schema.None{}, err
}

func (m *mount) generateKey(ctx context.Context, _ *schema.Call, in keyGenerate) (keyAnswer, error) {
	if err := checkHSM(in.Where, in.HSM); err != nil {
		return keyAnswer{}, err
	}
	spec, err := cert.NewKeySpec(in.Type, in.Bits)
	if err != nil {
		return keyAnswer{}, err
	}
	key, err := m.engine.Ring.Generate(ctx, in.Name, spec, in.HSM)
	if err != nil {
		return keyAnswer{}, err
	}
	answer, err := answerKey(key)
	if err != nil || in.Where != "exported" {
		return answer, err
	}
	answer.PrivateKey, err = m.engine.Ring.Export(ctx, key.ID)
	return answer, err
}

// checkHSM holds hsm to the path whose key is in a token.
func checkHSM(where, hsm string) error {
	switch {
	case where == "kms" && hsm == "":
		return fault.Field("hsm", "is required for kms: name a token of this mount; list them with: vault list MOUNT/hsm")
	case where != "kms" && hsm != "":
		return fault.Field("hsm", "is for kms only: use the path that ends in /kms to make the key in a token")
	}
	return nil
}

func (m *mount) importKey(ctx context.Context, call *schema.Call, in keyImport) (keyAnswer, error) {
	key, existing, err := m.engine.ImportKey(ctx, in.Name, []byte(in.PEM))
	if err != nil {
		return keyAnswer{}, err
	}
	if existing {
		call.Warn("The key exists already, as %s. Nothing was changed.", key.ID)
	}
	return answerKey(key)
}

func (m *mount) adoptKey(ctx context.Context, call *schema.Call, in keyAdopt) (keyAnswer, error) {
	id, err := hex.DecodeString(strings.ReplaceAll(in.ID, ":", ""))
	if err != nil {
		return keyAnswer{}, fault.Field("key_id", "must be hexadecimal bytes, with or without colons")
	}
	if len(id) == 0 && in.Label == "" {
		return keyAnswer{}, fault.Field("key_id", "key_id or key_label is required; list the keys of the token with: pkcs11-tool --list-objects")
	}
	key, did, err := m.engine.AdoptKey(ctx, keyring.Adoption{
		Name: in.Name, Token: in.HSM, ID: id, Label: in.Label, FromOtherMount: in.Other,
	})
	if err != nil {
		return keyAnswer{}, err
	}
	switch did {
	case keyring.SameKey:
		call.Warn("The key is there already, as %s; nothing was changed.", key.ID)
	case keyring.MovedKey:
		call.Warn("The key is there already, as %s; its record now names this place in the token.", key.ID)
	}
	if e := key.Evidence; e != nil && (e.Extractable || !e.Sensitive || !e.NeverExtractable) {
		call.Warn("The token says that the private key can leave it, or could once: for a CA that others shall trust, generate a key with keys/generate/kms.")
	}
	return answerKey(key)
}

func (m *mount) readKeyConfig(ctx context.Context, _ *schema.Call, _ schema.None) (keyConfigAnswer, error) {
	id, err := m.engine.Ring.DefaultKey(ctx)
	return keyConfigAnswer{Default: id}, err
}

func (m *mount) writeKeyConfig(ctx context.Context, _ *schema.Call, in keyConfig) (keyConfigAnswer, error) {
	id, err := m.engine.Ring.SetDefaultKey(ctx, in.Default)
	return keyConfigAnswer{Default: id}, err
}

func answerKey(key *keyring.Key) (keyAnswer, error) {
	pub, err := key.Public()
	if err != nil {
		return keyAnswer{}, err
	}
	id, err := cert.SubjectKeyID(pub)
	if err != nil {
		return keyAnswer{}, err
	}
	answer := keyAnswer{
		ID:           key.ID,
		Name:         key.Name,
		Type:         string(key.Spec.Type),
		Bits:         key.Spec.Bits,
		SubjectKeyID: colons(id),
		KeyHash:      key.Fingerprint().String(),
		TokenName:    key.Token,
		TokenKeyID:   colons(key.TokenID),
	}
	if key.Evidence != nil {
		answer.Evidence = evidenceOf(key)
	}
	return answer, nil
}

func evidenceOf(key *keyring.Key) *keyEvidence {
	e := key.Evidence
	return &keyEvidence{
		Local: e.Local, AlwaysSensitive: e.AlwaysSensitive, NeverExtractable: e.NeverExtractable, Sensitive: e.Sensitive, Extractable: e.Extractable,
		Elsewhere: key.AdoptedBy != nil,
	}
}

const digits = "0123456789abcdef"

// colons returns lower-case hexadecimal octets separated by ":".
func colons(octets []byte) string {
	var text strings.Builder
	text.Grow(3 * len(octets))
	for i, octet := range octets {
		if i > 0 {
			text.WriteByte(':')
		}
		text.WriteByte(digits[octet>>4])
		text.WriteByte(digits[octet&0x0f])
	}
	return text.String()
}
