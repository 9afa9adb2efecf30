package keyring

import (
	"bytes"
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"maps"
	"slices"
	"sync"

	"vault-plugin-secrets-enterprise-pki/backend/cert"
	"vault-plugin-secrets-enterprise-pki/backend/fault"
	"vault-plugin-secrets-enterprise-pki/backend/hsm"
)

// TokenConfig is a token as an operator declares it (hsm/:name). The PIN is
// write-only.
type TokenConfig struct {
	Module      string `json:"module"`
	TokenLabel  string `json:"token_label"`
	TokenSerial string `json:"token_serial"`
	PIN         string `json:"pin"`
	MaxSessions int    `json:"max_sessions"`
}

// String names the token without its PIN.
func (c TokenConfig) String() string {
	return fmt.Sprintf("token label %q serial %q of %s", c.TokenLabel, c.TokenSerial, c.Module)
}

// GoString is String: a PIN is shown in no format.
func (c TokenConfig) GoString() string { return c.String() }

// sameToken reports whether two configs name one token.
func (c TokenConfig) sameToken(other TokenConfig) bool {
	return c.Module == other.Module && c.TokenLabel == other.TokenLabel && c.TokenSerial == other.TokenSerial
}

// handles are this ring's shares of open tokens.
type handles struct {
	sync.Mutex
	byName map[string]*handle // nil: the ring was closed

	// declaring has a *sync.Mutex for the name of each token that was declared: whoever
	// holds it is the only one that changes that token's config. It is held while the
	// token is opened, and so never one for all tokens. It comes before Ring.writing.
	declaring sync.Map
}

// handle is the share of one token.
type handle struct {
	config  TokenConfig
	token   *hsm.Token
	current bool // the config is the one in storage, as far as this node knows
}

// recheck makes the next use of each token compare its config.
func (h *handles) recheck() {
	h.Lock()
	defer h.Unlock()
	for _, each := range h.byName {
		each.current = false
	}
}

// closeAll gives all shares back, for good.
func (h *handles) closeAll() {
	h.Lock()
	defer h.Unlock()
	for _, each := range h.byName {
		each.token.Close()
	}
	h.byName = nil
}

// replace puts a share in place of an earlier one; a nil token only removes it.
func (h *handles) replace(name string, config TokenConfig, token *hsm.Token) error {
	h.Lock()
	defer h.Unlock()
	if h.byName == nil {
		if token != nil {
			token.Close()
		}
		return errClosed
	}
	if old := h.byName[name]; old != nil {
		old.token.Close()
		delete(h.byName, name)
	}
	if token != nil {
		h.byName[name] = &handle{config: config, token: token, current: true}
	}
	return nil
}

// errClosed is the answer of a ring whose mount has gone.
var errClosed = fault.New(fault.Unavailable, "the mount was closed")

// token returns an open token, opening it when it is not.
func (r *Ring) token(ctx context.Context, name string) (*hsm.Token, error) {
	r.opened.Lock()
	h, closed := r.opened.byName[name], r.opened.byName == nil
	if h != nil && h.current {
		r.opened.Unlock()
		return h.token, nil
	}
	r.opened.Unlock()
	if closed {
		return nil, errClosed
	}
	i, err := r.view(ctx)
	if err != nil {
		return nil, err
	}
	config, ok := i.tokens[name]
	if !ok {
		return nil, fault.New(fault.NotFound, "there is no token %q", name)
	}
	if token := r.opened.reuse(name, config); token != nil {
		return token, nil
	}
	token, err := hsm.Open(ctx, r.hsmConfig(config))
	if err != nil {
		return nil, fmt.Errorf("opening token %s: %w", name, err)
	}
	if other := r.opened.reuse(name, config); other != nil { // opened meanwhile
		token.Close()
		return other, nil
	}
	return token, r.opened.replace(name, config, token)
}

// reuse returns the open token when its config has not changed.
func (h *handles) reuse(name string, config TokenConfig) *hsm.Token {
	h.Lock()
	defer h.Unlock()
	each := h.byName[name]
	if each == nil || each.config != config {
		return nil
	}
	each.current = true
	return each.token
}

// hsmConfig returns the config in the words of the room below.
func (r *Ring) hsmConfig(c TokenConfig) hsm.Config {
	return hsm.Config{
		Module: c.Module, TokenLabel: c.TokenLabel, TokenSerial: c.TokenSerial,
		PIN: c.PIN, MaxSessions: c.MaxSessions, Now: r.now,
	}
}

// makeInToken makes a key pair in a token.
func (r *Ring) makeInToken(ctx context.Context, spec cert.KeySpec, name string) (*record, error) {
	if r.mount == "" {
		return nil, fault.New(fault.Internal, "keys in tokens need the id of the mount")
	}
	token, err := r.token(ctx, name)
	if err != nil {
		return nil, err
	}
	made := &record{Key: Key{ID: newID(), Spec: spec, Token: name, TokenID: append(r.mountPrefix(), make([]byte, 16)...)}}
	_, _ = rand.Read(made.TokenID[len(made.TokenID)-16:]) // never fails: crypto/rand ends the process instead
	signer, evidence, err := token.Generate(ctx, spec, made.TokenID, "pki "+made.ID)
	if err != nil {
		return nil, fmt.Errorf("generating key in token %s: %w", name, err)
	}
	made.Evidence = &evidence
	if made.SPKI, err = cert.SPKI(signer.Public()); err != nil {
		return nil, fmt.Errorf("encoding public key of a key in token %s: %w", name, err)
	}
	return made, nil
}

// holdsKeys reports as Conflict that keys recorded in a token are not in this one.
func (r *Ring) holdsKeys(ctx context.Context, i *index, name string, token *hsm.Token) error {
	for _, key := range i.keys {
		if key.Token != name {
			continue
		}
		pub, err := key.Public()
		if err != nil {
			return err
		}
		if _, err := findIn(ctx, token, key, pub); err != nil {
			return fault.New(fault.Conflict, "key %s lives in token %s and is not in the one that the new settings name: %w", key.ID, name, err)
		}
	}
	return nil
}

// ListTokens returns the names of the tokens, sorted.
func (r *Ring) ListTokens(ctx context.Context) ([]string, error) {
	i, err := r.view(ctx)
	if err != nil {
		return nil, err
	}
	return slices.Sorted(maps.Keys(i.tokens)), nil
}

// TokenStatus reports on a token without failing for an unreachable one. NotFound
// when there is no such token.
func (r *Ring) TokenStatus(ctx context.Context, name string) (hsm.Status, error) {
	config, err := r.GetToken(ctx, name)
	if err != nil {
		return hsm.Status{}, err
	}
	token, err := r.token(ctx, name)
	if err == nil {
		return token.Status(ctx), nil
	}
	status := hsm.Status{
		Label: config.TokenLabel, Serial: config.TokenSerial,
		PINLatched: errors.Is(err, hsm.ErrWrongPIN), LastError: err.Error(),
	}
	if r.now != nil {
		status.LastErrorAt = r.now()
	}
	return status, nil
}

// Destroy removes a key for good: a token key from its token, with proof of its
// absence, then the record. NotFound when there is no such key.
//
// If we crash in between, the record names a key that the token has no more; its
// signer is NotFound, and Destroy does the rest when it is called again.
func (r *Ring) Destroy(ctx context.Context, id string) error {
	i, err := r.view(ctx)
	if err != nil {
		return err
	}
	key := i.byID[id]
	if key == nil {
		return notFound(id)
	}
	if key.Token != "" {
		if err := r.owns(key); err != nil {
			return err
		}
		if key.AdoptedBy != nil {
			return fault.New(fault.Conflict, "key %s was adopted and is not destroyed by the mount: remove it from token %s with the tool that made it", id, key.Token)
		}
		token, err := r.token(ctx, key.Token)
		if err != nil {
			return err
		}
		if err := token.Destroy(ctx, key.TokenID); err != nil && !fault.Is(err, fault.NotFound) {
			return fmt.Errorf("destroying key %s: %w", id, err)
		}
	}
	return r.Delete(ctx, id)
}

// Swept is what Sweep found under this mount's prefix.
type Swept struct {
	Removed  [][]byte // CKA_IDs of public keys without a private key, now gone
	Unnamed  [][]byte // CKA_IDs of key pairs that no record names, left alone
	Examined int      // key pairs and halves of this mount
}

// Sweep looks in a token for what an interrupted Generate left behind. A public key
// of this mount without its private key and without a record is of no use and is
// removed. A private key without a record is left alone and reported: it may be one
// that was deleted from the ring on purpose and stays in the token, or one whose
// record is in a snapshot yet to be restored; removing keys is for Destroy.
func (r *Ring) Sweep(ctx context.Context, name string) (Swept, error) {
	token, err := r.token(ctx, name)
	if err != nil {
		return Swept{}, err
	}
	pairs, err := token.List(ctx, r.mountPrefix())
	if err != nil {
		return Swept{}, fmt.Errorf("listing keys of token %s: %w", name, err)
	}
	i, err := r.view(ctx) // after the listing: a key generated meanwhile has its record
	if err != nil {
		return Swept{}, err
	}
	swept := Swept{Examined: len(pairs)}
	for _, pair := range pairs {
		recorded := slices.ContainsFunc(i.keys, func(key *Key) bool { return bytes.Equal(key.TokenID, pair.ID) })
		switch {
		case recorded:
		case pair.Private:
			swept.Unnamed = append(swept.Unnamed, pair.ID)
			r.log.Warn("a key in a token has no record", "token", name, "cka_id", fmt.Sprintf("%x", pair.ID))
		default:
			if err := token.DestroyOrphan(ctx, pair.ID); err != nil && !fault.Is(err, fault.NotFound) {
				return swept, fmt.Errorf("removing public key %x from token %s: %w", pair.ID, name, err)
			}
			swept.Removed = append(swept.Removed, pair.ID)
			r.log.Info("removed a public key without its private key", "token", name, "cka_id", fmt.Sprintf("%x", pair.ID))
		}
	}
	return swept, nil
}
