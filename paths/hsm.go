package paths

import (
	"context"
	"time"

	"github.com/hashicorp/vault/sdk/framework"

	"vault-plugin-secrets-enterprise-pki/backend/fault"
	"vault-plugin-secrets-enterprise-pki/backend/keyring"
	"vault-plugin-secrets-enterprise-pki/paths/schema"
)

const tokenHelp = `
Declare a token once, and use its name to generate CA keys in it. Exactly one of
token_label and token_serial selects the token. Slot numbers are not used, because they
can change. A write opens the token and logs in, and refuses wrong settings. A wrong PIN
is tried once. After that, the engine does not log in until the settings are written
again, because more attempts would lock the token. The library must be on the plugin's
allow-list, the environment variable PKI_PKCS11_MODULES. These paths require sudo,
because they load a shared library into the plugin.
`

type tokenName struct {
	Name string `json:"name" in:"path" kind:"name" doc:"Name of the token in this mount."`
}

// tokenSettings is what an operator declares of a token.
type tokenSettings struct {
	Module      string `json:"module" doc:"Path of the PKCS#11 library. It must be on the plugin's allow-list (PKI_PKCS11_MODULES)." max:"4096"`
	TokenLabel  string `json:"token_label" doc:"Label of the token (CKA_LABEL in CK_TOKEN_INFO). Exclusive with token_serial." max:"32"`
	TokenSerial string `json:"token_serial" doc:"Serial number of the token. Exclusive with token_label." max:"16"`
	PIN         string `json:"pin" kind:"secret" doc:"User PIN of the token. One newline at its end is removed. When it is not given, the earlier one stays." max:"256"`
	MaxSessions int    `json:"max_sessions" doc:"Most PKCS#11 sessions to open at a time." default:"8" min:"4" max:"1024"`
}

type tokenInput struct {
	tokenName
	tokenSettings
}

type tokenStatus struct {
	Reachable    bool     `json:"reachable" doc:"Whether the token responded."`
	PINLatched   bool     `json:"pin_latched" doc:"Whether a wrong PIN was seen: no login is tried until the token is written again."`
	Label        string   `json:"label" doc:"Label that the token reports."`
	Serial       string   `json:"serial" doc:"Serial number that the token reports."`
	Manufacturer string   `json:"manufacturer" doc:"Manufacturer that the token reports."`
	Model        string   `json:"model" doc:"Model that the token reports."`
	Firmware     string   `json:"firmware" doc:"Firmware version that the token reports."`
	Mechanisms   []string `json:"mechanisms" doc:"Mechanisms that the engine uses and the token has, by their PKCS#11 names."`
	Missing      []string `json:"missing_mechanisms" doc:"Mechanisms that the engine uses and the token lacks: keys or signatures that need them are refused."`
	Count        int      `json:"mechanism_count" doc:"Number of all mechanisms of the token."`
	LastError    string   `json:"last_error" doc:"Last error of the token, or empty."`
	LastErrorAt  string   `json:"last_error_at" doc:"Time of the last error, RFC 3339, or empty."`
}

func (m *mount) tokenPaths() []*framework.Path {
	return []*framework.Path{
		schema.Path("hsm/?", "List the PKCS#11 tokens of this mount.", tokenHelp,
			schema.List("List the tokens.", m.listTokens)),
		schema.Path("hsm/"+schema.Segment("name"), "Declare a PKCS#11 token.", tokenHelp,
			schema.Read("Read the settings of a token, without its PIN.", m.readToken),
			schema.Write("Declare a token, or replace its settings.", m.writeToken),
			schema.Patch("Change some settings of a token.", m.patchToken),
			schema.Delete("Remove a token in which this mount has no key.", m.deleteToken)),
		schema.Path("hsm/"+schema.Segment("name")+"/status", "Read the status of a token.",
			"Queries the token now. If it does not respond, reachable is false and last_error has the reason.",
			schema.Read("Read the status of a token.", m.readTokenStatus)),
	}
}

func (m *mount) listTokens(ctx context.Context, _ *schema.Call, in schema.Page) (schema.Keys, error) {
	names, err := m.engine.Ring.ListTokens(ctx)
	return schema.Keys{Keys: in.Window(names)}, err
}

func (m *mount) readToken(ctx context.Context, _ *schema.Call, in tokenName) (tokenSettings, error) {
	config, err := m.engine.Ring.GetToken(ctx, in.Name)
	if err != nil {
		return tokenSettings{}, err
	}
	return settingsOf(config), nil
}

func (m *mount) writeToken(ctx context.Context, _ *schema.Call, in tokenInput) (tokenSettings, error) {
	names, err := m.engine.Ring.ListTokens(ctx)
	if err != nil {
		return tokenSettings{}, err
	}
	if err := schema.CheckDistinct("name", in.Name, names); err != nil {
		return tokenSettings{}, err
	}
	if err := in.check(); err != nil {
		return tokenSettings{}, err
	}
	return in.tokenSettings, m.engine.Ring.PutToken(ctx, in.Name, keyring.TokenConfig(in.tokenSettings))
}

func (m *mount) patchToken(ctx context.Context, call *schema.Call, in tokenInput) (tokenSettings, error) {
	config, err := m.engine.Ring.AmendToken(ctx, in.Name, func(config *keyring.TokenConfig) error {
		settings := settingsOf(config)
		if err := schema.Change(in.tokenSettings, call.Given)(&settings); err != nil {
			return err
		}
		*config = keyring.TokenConfig(settings)
		return settings.check()
	})
	if err != nil {
		return tokenSettings{}, err
	}
	return settingsOf(config), nil
}

// check refuses settings that select no token, or two.
func (s tokenSettings) check() error {
	if s.Module == "" {
		return fault.Field("module", "is required")
	}
	if (s.TokenLabel == "") == (s.TokenSerial == "") {
		return fault.Field("token_label", "exactly one of token_label and token_serial is required")
	}
	return nil
}

func (m *mount) deleteToken(ctx context.Context, _ *schema.Call, in tokenName) (schema.None, error) {
	return schema.None{}, m.engine.Ring.DeleteToken(ctx, in.Name)
}

func (m *mount) readTokenStatus(ctx context.Context, _ *schema.Call, in tokenName) (tokenStatus, error) {
	status, err := m.engine.Ring.TokenStatus(ctx, in.Name)
	if err != nil {
		return tokenStatus{}, err
	}
	answer := tokenStatus{
		Reachable:    status.Reachable,
		PINLatched:   status.PINLatched,
		Label:        status.Label,
		Serial:       status.Serial,
		Manufacturer: status.Manufacturer,
		Model:        status.Model,
		Firmware:     status.Firmware,
		Mechanisms:   status.Present,
		Missing:      status.Missing,
		Count:        status.Count,
		LastError:    status.LastError,
	}
	if !status.LastErrorAt.IsZero() {
		answer.LastErrorAt = status.LastErrorAt.UTC().Format(time.RFC3339)
	}
	return answer, nil
}

func settingsOf(config *keyring.TokenConfig) tokenSettings { return tokenSettings(*config) }
