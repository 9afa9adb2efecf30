package vault

import (
	"context"
	"encoding/json"
	"net/http"
	"os"
	"strings"
	"time"

	"vault-plugin-secrets-enterprise-pki/backend/fault"
)

// retryLogin is how long a refused renewal waits, and how old a token must be before
// a refusal makes the edge log in again: a policy that lacks a path must not become a
// flood of logins.
const retryLogin = 30 * time.Second

// session is one token with what is known of its life.
type session struct {
	token    string
	since    time.Time
	renewAt  time.Time // zero: never
	expires  time.Time // zero: never
	fromFile string    // what the token file held
}

// lease is what Vault says of a token's life.
type lease struct {
	ClientToken string `json:"client_token"`
	Seconds     int64  `json:"lease_duration"`
	Renewable   bool   `json:"renewable"`
}

// lives notes how long the token lives: renewed after two thirds of it.
func (s *session) lives(now time.Time, l lease) {
	s.renewAt, s.expires = time.Time{}, time.Time{}
	if l.Seconds <= 0 {
		return // it does not end
	}
	life := time.Duration(l.Seconds) * time.Second
	s.expires = now.Add(life)
	s.renewAt = now.Add(life / 3 * 2)
	if !l.Renewable {
		s.renewAt = time.Time{}
	}
}

// token returns a token that is good as far as is known, after logging in, reading it
// anew or renewing it where that is due.
func (c *Client) token(ctx context.Context) (string, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	now := c.now()
	if c.config.TokenFile != "" {
		if err := c.readToken(ctx, now); err != nil {
			return "", err
		}
	} else if c.session.token == "" || c.ended(now) {
		if err := c.logIn(ctx, now); err != nil {
			return "", err
		}
	}
	if !c.session.renewAt.IsZero() && !now.Before(c.session.renewAt) {
		if err := c.renew(ctx, now); err != nil {
			return "", err
		}
	}
	return c.session.token, nil
}

// ended reports whether the token is at its end, or near it without being renewable.
func (c *Client) ended(now time.Time) bool {
	s := &c.session
	if s.expires.IsZero() {
		return false
	}
	if s.renewAt.IsZero() {
		return !now.Before(s.since.Add(s.expires.Sub(s.since) / 3 * 2))
	}
	return !now.Before(s.expires)
}

// readToken takes the token of the file when that has changed.
func (c *Client) readToken(ctx context.Context, now time.Time) error {
	text, err := readSecret(c.config.TokenFile)
	if err != nil {
		if c.session.token != "" {
			return nil // being replaced: the token at hand may be good still
		}
		return fault.Field("vault.token_file", "%w", err)
	}
	if text == c.session.fromFile {
		return nil
	}
	c.session = session{token: text, fromFile: text, since: now}
	frame, err := c.do(ctx, exchange{method: http.MethodGet, path: "auth/token/lookup-self", token: text})
	if err != nil {
		if fault.Is(err, fault.Denied) {
			return nil // the policy may not let it look at itself: then it is not renewed
		}
		c.session = session{}
		return err
	}
	var known struct {
		TTL       int64 `json:"ttl"`
		Renewable bool  `json:"renewable"`
	}
	if err := json.Unmarshal(frame.Data, &known); err == nil {
		c.session.lives(now, lease{Seconds: known.TTL, Renewable: known.Renewable})
	}
	return nil
}

// logIn logs in by AppRole.
func (c *Client) logIn(ctx context.Context, now time.Time) error {
	secret, err := readSecret(c.config.AppRole.SecretIDFile)
	if err != nil {
		return fault.Field("vault.approle.secret_id_file", "%w", err)
	}
	frame, err := c.do(ctx, exchange{
		method: http.MethodPost, path: "auth/" + c.config.AppRole.Path + "/login",
		body: map[string]string{"role_id": c.config.AppRole.RoleID, "secret_id": secret},
	})
	if err != nil {
		return err
	}
	var granted lease
	if err := json.Unmarshal(frame.Auth, &granted); err != nil || granted.ClientToken == "" {
		return fault.New(fault.Internal, "logging in to Vault: the answer has no token")
	}
	c.session = session{token: granted.ClientToken, since: now}
	c.session.lives(now, granted)
	return nil
}

// renew prolongs the token. One that is refused is given up, and one that has reached
// its longest life is replaced in time.
func (c *Client) renew(ctx context.Context, now time.Time) error {
	frame, err := c.do(ctx, exchange{method: http.MethodPost, path: "auth/token/renew-self", body: struct{}{}, token: c.session.token})
	if fault.Is(err, fault.Denied) || fault.Is(err, fault.Invalid) {
		if c.config.TokenFile != "" {
			c.session.renewAt = now.Add(retryLogin)
			return nil
		}
		return c.logIn(ctx, now)
	}
	if err != nil {
		c.session.renewAt = now.Add(retryLogin)
		if now.Before(c.session.expires) {
			return nil
		}
		return err
	}
	var granted lease
	if err := json.Unmarshal(frame.Auth, &granted); err != nil {
		return fault.New(fault.Internal, "renewing the token: the response has an unexpected format")
	}
	before := c.session.expires
	c.session.lives(now, granted)
	if c.config.TokenFile == "" && granted.Seconds > 0 && !c.session.expires.After(before) {
		return c.logIn(ctx, now) // its longest life ends: renewing adds nothing any more
	}
	return nil
}

// giveUp drops a refused token and reports whether another try may do better.
func (c *Client) giveUp(token string) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.session.token != token {
		return true // another call has got a new one meanwhile
	}
	if c.now().Sub(c.session.since) < retryLogin {
		return false
	}
	if c.config.TokenFile != "" {
		// The file may hold another one by now; the same one is refused again.
		text, err := readSecret(c.config.TokenFile)
		return err == nil && text != c.session.fromFile
	}
	c.session = session{}
	return true
}

// maxSecret is the longest secret that is read from a file, in octets.
const maxSecret = 64 << 10

// readSecret reads a one-line secret. The error never holds what is in the file.
func readSecret(path string) (string, error) {
	info, err := os.Stat(path)
	if err != nil {
		return "", fault.New(fault.NotFound, "reading a secret: %w", err)
	}
	if !info.Mode().IsRegular() || info.Size() > maxSecret {
		return "", fault.New(fault.Invalid, "%s is no file with a secret in it", path)
	}
	raw, err := os.ReadFile(path)
	if err != nil {
		return "", fault.New(fault.NotFound, "reading a secret: %w", err)
	}
	text := strings.TrimSpace(string(raw))
	if text == "" || strings.ContainsAny(text, "\r\n") {
		return "", fault.New(fault.Invalid, "%s holds no one-line secret", path)
	}
	return text, nil
}
