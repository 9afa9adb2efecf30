package keyring

import (
	"context"
	"fmt"
	"strings"
	"sync"

	"vault-plugin-secrets-enterprise-pki/backend/fault"
	"vault-plugin-secrets-enterprise-pki/backend/hsm"
)

// PutToken writes a token's config after opening the token with it. The PIN of an
// earlier config is kept when the new one has none and names the same token. A PIN
// that is given clears its latch, so it is tried once more; one newline at its end is
// removed. Conflict when keys of
// the ring would not be found in the token any more. MaxSessions holds from when
// this process next opens the token.
func (r *Ring) PutToken(ctx context.Context, name string, config TokenConfig) error {
	if name == "" || strings.Contains(name, "/") {
		return fault.Field("name", "must name the token, without slashes")
	}
	defer r.declare(name)()
	return r.putToken(ctx, name, config)
}

// AmendToken changes a token's config under the token's lock, so that of two changes at
// a time neither is lost, and a deleted token does not come back (race-1). change sees
// no PIN; one that it leaves empty stays. It returns the config without its PIN.
// NotFound when there is none.
func (r *Ring) AmendToken(ctx context.Context, name string, change func(*TokenConfig) error) (*TokenConfig, error) {
	defer r.declare(name)()
	config, err := r.GetToken(ctx, name)
	if err != nil {
		return nil, err
	}
	if err := change(config); err != nil {
		return nil, err
	}
	err = r.putToken(ctx, name, *config)
	config.PIN = ""
	return config, err
}

// declare takes the lock of a token's config and returns what gives it back.
func (r *Ring) declare(name string) (release func()) {
	made, _ := r.opened.declaring.LoadOrStore(name, &sync.Mutex{})
	mu, _ := made.(*sync.Mutex)
	mu.Lock()
	return mu.Unlock
}

// putToken is PutToken for a caller that holds the token's lock.
func (r *Ring) putToken(ctx context.Context, name string, config TokenConfig) error {
	i, err := r.view(ctx)
	if err != nil {
		return err
	}
	old, existed := i.tokens[name]
	open := hsm.Offer
	config.PIN = hsm.TrimPIN(config.PIN)
	if config.PIN == "" && existed {
		if !config.sameToken(old) {
			// It would be shown to a library or token that it was not meant for.
			return fault.Field("pin", "must be given again when the module or the token changes")
		}
		config.PIN, open = old.PIN, hsm.Open
	}
	token, err := open(ctx, r.hsmConfig(config))
	if err != nil {
		return fmt.Errorf("opening token %s: %w", name, err)
	}
	if existed && !config.sameToken(old) {
		if err := r.holdsKeys(ctx, i, name, token); err != nil {
			token.Close()
			return err
		}
	}
	r.writing.Lock()
	defer r.writing.Unlock()
	err = r.change(ctx,
		func(ctx context.Context) error { return r.tokens.Put(ctx, name, &config) },
		func(i *index) *index { return i.withToken(name, config) })
	if err != nil {
		token.Close()
		r.opened.recheck()
		return err
	}
	r.log.Info("wrote token", "name", name, "serial", token.Serial(), "module", config.Module)
	return r.opened.replace(name, config, token)
}

// GetToken returns a token's config, with its PIN removed. NotFound when absent.
func (r *Ring) GetToken(ctx context.Context, name string) (*TokenConfig, error) {
	i, err := r.view(ctx)
	if err != nil {
		return nil, err
	}
	config, ok := i.tokens[name]
	if !ok {
		return nil, fault.New(fault.NotFound, "there is no token %q", name)
	}
	config.PIN = ""
	return &config, nil
}

// DeleteToken forgets a token; Conflict while keys of the ring live in it. A token
// that is not there is no error.
func (r *Ring) DeleteToken(ctx context.Context, name string) error {
	defer r.declare(name)()
	r.writing.Lock()
	defer r.writing.Unlock()
	i, err := r.load(ctx)
	if err != nil {
		return err
	}
	for _, key := range i.keys {
		if key.Token == name {
			return fault.New(fault.Conflict, "token %s holds key %s; delete or destroy its keys first", name, key.ID)
		}
	}
	err = r.change(ctx,
		func(ctx context.Context) error { return r.tokens.Delete(ctx, name) },
		func(i *index) *index { return i.withoutToken(name) })
	if err != nil {
		r.opened.recheck()
		return err
	}
	_ = r.opened.replace(name, TokenConfig{}, nil) // of a closed ring there is nothing to give back
	return nil
}
