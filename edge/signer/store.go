package signer

import (
	"context"
	"crypto"
	"crypto/rand"
	"crypto/x509"
	"encoding/base64"
	"encoding/hex"
	"fmt"
	"os"
	"strings"
	"sync"
	"time"

	"vault-plugin-secrets-enterprise-pki/backend/cert"
	"vault-plugin-secrets-enterprise-pki/backend/fault"
	"vault-plugin-secrets-enterprise-pki/backend/hsm"
	"vault-plugin-secrets-enterprise-pki/edge/config"
)

// Store is where keys live. Each key is ECDSA on P-256.
type Store interface {
	// Make makes a key and returns what Find finds it by. A reference to one that outlives
	// the process, and does not hold the key, is announced before it is made.
	Make(ctx context.Context, announce func(reference string)) (key crypto.Signer, reference string, err error)
	// Find returns a key that was made, compared with its public key: NotFound when it is
	// not there any more, Unavailable when that cannot be told.
	Find(ctx context.Context, reference string, pub crypto.PublicKey) (crypto.Signer, error)
	// Drop destroys a key. One that is not there is no error.
	Drop(ctx context.Context, reference string) error
	// Close gives up what Make and Find have opened. Their keys sign no more.
	Close()
}

// NewStore returns the store that a checked configuration names. It touches nothing
// yet. name is the edge's, and becomes part of the names of keys in a token.
func NewStore(settings config.Signer, name string, now func() time.Time) Store {
	switch settings.Key {
	case config.KeyInToken:
		return &token{settings: settings.PKCS11, prefix: "pki-edge/" + name + "/", now: now}
	case config.KeyInFile:
		return file{}
	}
	return memory{}
}

// memory keeps keys in the signer that uses them and nowhere else.
type memory struct{}

func (memory) Make(context.Context, func(string)) (crypto.Signer, string, error) {
	key, err := cert.GenerateKey(cert.P256)
	return key, "", err
}

func (memory) Find(context.Context, string, crypto.PublicKey) (crypto.Signer, error) {
	return nil, fault.New(fault.NotFound, "keys in memory end with the process")
}

func (memory) Drop(context.Context, string) error { return nil }

func (memory) Close() {}

// file keeps keys in the references, which the record of a signer holds.
type file struct{}

func (file) Make(context.Context, func(string)) (crypto.Signer, string, error) {
	key, err := cert.GenerateKey(cert.P256)
	if err != nil {
		return nil, "", err
	}
	encoded, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		return nil, "", fmt.Errorf("encoding a key: %w", err)
	}
	return key, base64.StdEncoding.EncodeToString(encoded), nil
}

func (file) Find(_ context.Context, reference string, pub crypto.PublicKey) (crypto.Signer, error) {
	encoded, err := base64.StdEncoding.DecodeString(reference)
	if err != nil || len(encoded) == 0 {
		return nil, fault.New(fault.NotFound, "no key is on disk")
	}
	parsed, err := x509.ParsePKCS8PrivateKey(encoded)
	if err != nil {
		return nil, fault.New(fault.NotFound, "the key on disk is malformed") // the cause could quote it
	}
	key, ok := parsed.(crypto.Signer)
	if !ok || !cert.Equal(key.Public(), pub) {
		return nil, fault.New(fault.NotFound, "the key on disk is another one")
	}
	return key, nil
}

func (file) Drop(context.Context, string) error { return nil } // the next record is in its place

func (file) Close() {}

// token keeps keys in a PKCS#11 token.
type token struct {
	settings config.PKCS11
	prefix   string // of every CKA_ID
	now      func() time.Time

	mu   sync.Mutex // guards open
	open *hsm.Token
}

// connect opens the token at its first use. Once open it heals by itself.
func (t *token) connect(ctx context.Context) (*hsm.Token, error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.open != nil {
		return t.open, nil
	}
	pin, err := readPIN(t.settings.PINFile)
	if err != nil {
		return nil, err
	}
	opened, err := hsm.Open(ctx, hsm.Config{
		Module: t.settings.Module, TokenLabel: t.settings.TokenLabel, TokenSerial: t.settings.TokenSerial, PIN: pin, Now: t.now,
	})
	if err != nil {
		return nil, err
	}
	t.open = opened
	return opened, nil
}

// maxPIN is the longest PIN that is read, in octets.
const maxPIN = 1024

func readPIN(path string) (string, error) {
	info, err := os.Stat(path)
	if err != nil {
		return "", fault.FieldOf(fault.Unavailable, "signer.pkcs11.pin_file", "%w", err)
	}
	if info.Mode().Perm()&0o077 != 0 {
		return "", fault.FieldOf(fault.Denied, "signer.pkcs11.pin_file", "%s can be read by others: chmod 600", path)
	}
	raw, err := os.ReadFile(path)
	if err != nil {
		return "", fault.FieldOf(fault.Unavailable, "signer.pkcs11.pin_file", "%w", err)
	}
	pin := hsm.TrimPIN(string(raw))
	if pin == "" || len(pin) > maxPIN {
		return "", fault.Field("signer.pkcs11.pin_file", "must hold a PIN of 1 to %d bytes on one line", maxPIN)
	}
	return pin, nil
}

func (t *token) Make(ctx context.Context, announce func(reference string)) (crypto.Signer, string, error) {
	opened, err := t.connect(ctx)
	if err != nil {
		return nil, "", err
	}
	chance := make([]byte, 16)
	_, _ = rand.Read(chance) // never fails
	id := append([]byte(t.prefix), chance...)
	reference := hex.EncodeToString(id)
	announce(reference)
	key, _, err := opened.Generate(ctx, cert.P256, id, t.prefix+"ocsp")
	return key, reference, err
}

func (t *token) Find(ctx context.Context, reference string, pub crypto.PublicKey) (crypto.Signer, error) {
	id, err := t.id(reference)
	if err != nil {
		return nil, err
	}
	opened, err := t.connect(ctx)
	if err != nil {
		// A wrong PIN or a missing module ends by an operator's hand, not by a new key.
		return nil, fault.New(fault.Unavailable, "opening the token: %w", err)
	}
	return opened.Find(ctx, id, pub)
}

func (t *token) Drop(ctx context.Context, reference string) error {
	id, err := t.id(reference)
	if err != nil {
		return err
	}
	opened, err := t.connect(ctx)
	if err != nil {
		return err
	}
	if err := opened.Destroy(ctx, id); err != nil && !fault.Is(err, fault.NotFound) {
		return err
	}
	return nil
}

func (t *token) Close() {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.open != nil {
		t.open.Close()
		t.open = nil
	}
}

// id returns the CKA_ID that a reference names. One without the edge's prefix is no
// key of ours, and is neither used nor destroyed.
func (t *token) id(reference string) ([]byte, error) {
	id, err := hex.DecodeString(reference)
	if err != nil || !strings.HasPrefix(string(id), t.prefix) {
		return nil, fault.New(fault.NotFound, "the key was made elsewhere")
	}
	return id, nil
}
