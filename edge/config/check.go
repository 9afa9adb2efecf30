package config

import (
	"maps"
	"net"
	"net/url"
	"path/filepath"
	"regexp"
	"slices"
	"time"

	"vault-plugin-secrets-enterprise-pki/backend/fault"
)

var levels = []string{"debug", "info", "warn", "error"}

// plainName is what an edge and a credential may be called: they become parts of
// paths and of reports.
var plainName = regexp.MustCompile(`^[A-Za-z0-9][A-Za-z0-9._-]{0,62}$`)

// mountPath is a path of Vault without anything that an HTTP client would resolve.
var mountPath = regexp.MustCompile(`^[A-Za-z0-9_-][A-Za-z0-9._-]*(/[A-Za-z0-9_-][A-Za-z0-9._-]*)*$`)

func (c Config) check() error {
	if !plainName.MatchString(c.Name) {
		return fault.Field("name", "must be letters, digits, '.', '_' and '-', at most 63, not %q", c.Name)
	}
	if !filepath.IsAbs(c.DataDir) {
		return fault.Field("data_dir", "must be an absolute path, not %q", c.DataDir)
	}
	if c.URL != "" && !isServer(c.URL) {
		return fault.Field("url", "must be http:// or https:// with a host and no path, not %q", c.URL)
	}
	for _, directory := range c.PublishDirectories {
		if !filepath.IsAbs(directory) || filepath.Clean(directory) != directory {
			return fault.Field("publish_directories", "must be absolute paths without \"..\" or a slash at the end, not %q", directory)
		}
	}
	if err := within("poll_interval", c.PollInterval, 100*time.Millisecond, time.Hour); err != nil {
		return err
	}
	for _, check := range []func() error{c.Vault.check, c.Listen.check, c.Signer.check, c.Log.check, c.Selftest.check} {
		if err := check(); err != nil {
			return err
		}
	}
	for _, name := range slices.Sorted(maps.Keys(c.Credentials)) {
		if err := c.Credentials[name].check("credentials." + name); err != nil {
			return err
		}
	}
	return nil
}

func within(field string, value, least, most time.Duration) error {
	if value < least || value > most {
		return fault.Field(field, "must be from %s to %s, not %s", least, most, value)
	}
	return nil
}

func (v Vault) check() error {
	if v.Address == "" {
		return fault.Field("vault.address", "is required, such as https://vault.example.com:8200")
	}
	if !isServer(v.Address) {
		return fault.Field("vault.address", "must be http:// or https:// with a host and no path, not %q", v.Address)
	}
	if !mountPath.MatchString(v.Mount) {
		return fault.Field("vault.mount", "must be the path of the secrets engine without slashes around it, not %q", v.Mount)
	}
	if v.Namespace != "" && !mountPath.MatchString(v.Namespace) {
		return fault.Field("vault.namespace", "must be a path without slashes around it, not %q", v.Namespace)
	}
	if err := within("vault.timeout", v.Timeout, time.Second, 10*time.Minute); err != nil {
		return err
	}
	return v.checkLogin()
}

func (v Vault) checkLogin() error {
	appRole := v.AppRole.RoleID != "" || v.AppRole.SecretIDFile != ""
	switch {
	case appRole && v.TokenFile != "":
		return fault.Field("vault.token_file", "excludes vault.approle: the edge logs in by one of them")
	case !appRole && v.TokenFile == "":
		return fault.Field("vault", "needs token_file, or approle with role_id and secret_id_file")
	case appRole && (v.AppRole.RoleID == "" || v.AppRole.SecretIDFile == ""):
		return fault.Field("vault.approle", "needs both role_id and secret_id_file")
	case appRole && !mountPath.MatchString(v.AppRole.Path):
		return fault.Field("vault.approle.path", "must be the path of the auth method without slashes around it, not %q", v.AppRole.Path)
	}
	return nil
}

func isServer(text string) bool {
	parsed, err := url.Parse(text)
	return err == nil && (parsed.Scheme == "http" || parsed.Scheme == "https") && parsed.Host != "" && parsed.User == nil &&
		(parsed.Path == "" || parsed.Path == "/") && parsed.RawQuery == "" && parsed.Fragment == ""
}

func (l Listen) check() error {
	if _, _, err := net.SplitHostPort(l.Address); err != nil {
		return fault.Field("listen.address", "must be host:port or :port, not %q", l.Address)
	}
	if _, _, err := net.SplitHostPort(l.MetricsAddress); l.MetricsAddress != "" && err != nil {
		return fault.Field("listen.metrics_address", "must be host:port, such as 127.0.0.1:9464, not %q", l.MetricsAddress)
	}
	if l.MaxConnections < 1 || l.MaxConnections > 1<<20 {
		return fault.Field("listen.max_connections", "must be from 1 to %d, not %d", 1<<20, l.MaxConnections)
	}
	return within("listen.shutdown_grace", l.ShutdownGrace, 0, 10*time.Minute)
}

func (s Signer) check() error {
	places := []string{KeyInMemory, KeyInFile, KeyInToken}
	if !slices.Contains(places, s.Key) {
		return fault.Field("signer.key", "must be %s, not %q", fault.List(places), s.Key)
	}
	if s.Key != KeyInToken {
		if s.PKCS11 != (PKCS11{}) {
			return fault.Field("signer.pkcs11", "is used only with signer.key: %s", KeyInToken)
		}
		return nil
	}
	if s.PKCS11.Module == "" {
		return fault.Field("signer.pkcs11.module", "is required with signer.key: %s", KeyInToken)
	}
	if (s.PKCS11.TokenLabel == "") == (s.PKCS11.TokenSerial == "") {
		return fault.Field("signer.pkcs11", "needs either token_label or token_serial")
	}
	if s.PKCS11.PINFile == "" {
		return fault.Field("signer.pkcs11.pin_file", "is required with signer.key: %s", KeyInToken)
	}
	return nil
}

func (l Log) check() error {
	if !slices.Contains(levels, l.Level) {
		return fault.Field("log.level", "must be %s, not %q", fault.List(levels), l.Level)
	}
	if l.Format != "text" && l.Format != "json" {
		return fault.Field("log.format", "must be text or json, not %q", l.Format)
	}
	return nil
}

func (s Selftest) check() error {
	if s.URL != "" && !isServer(s.URL) {
		return fault.Field("selftest.url", "must be http:// or https:// with a host and no path, not %q", s.URL)
	}
	return within("selftest.timeout", s.Timeout, time.Second, time.Hour)
}

func (c Credential) check(field string) error {
	if name := field[len("credentials."):]; !plainName.MatchString(name) {
		return fault.Field("credentials", "names must be letters, digits, '.', '_' and '-', at most 63, not %q", name)
	}
	switch {
	case (c.CertificateFile == "") != (c.KeyFile == ""):
		return fault.Field(field, "needs both certificate_file and key_file, or neither")
	case (c.Username == "") != (c.PasswordFile == ""):
		return fault.Field(field, "needs both username and password_file, or neither")
	case c.TokenFile != "" && c.Username != "":
		return fault.Field(field, "has either token_file or username, not both")
	case c.TokenFile == "" && c.Username == "" && c.CertificateFile == "":
		return fault.Field(field, "needs token_file, username and password_file, or certificate_file and key_file")
	case len(c.Hosts) == 0 || slices.Contains(c.Hosts, ""):
		return fault.Field(field+".hosts", "must name the servers that may see it, as host or host:port")
	}
	return nil
}
