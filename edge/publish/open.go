package publish

import (
	"crypto/tls"
	"crypto/x509"
	"net"
	"net/url"
	"os"
	"regexp"
	"slices"
	"strings"

	"vault-plugin-secrets-enterprise-pki/backend/fault"
	"vault-plugin-secrets-enterprise-pki/backend/feed"
	"vault-plugin-secrets-enterprise-pki/edge/config"
)

// The types of a publisher.
const (
	typeWeb       = "http-put"
	typeDirectory = "ldap"
	typeFile      = "file"
)

// destinationOf returns where a publisher puts things, without touching it.
func destinationOf(publisher feed.Publisher, config Config) destination {
	switch publisher.Type {
	case typeFile:
		return &folder{publisher: publisher, directories: config.Directories, now: config.Now}
	case typeWeb:
		return &web{publisher: publisher, credentials: config.Credentials}
	case typeDirectory:
		return &directory{publisher: publisher, credentials: config.Credentials}
	}
	return broken{fault.Field("type", "this edge does not know publishers of type %q", publisher.Type)}
}

// server is one that a publisher writes to, and how to prove who we are.
type server struct {
	url      *url.URL // its path may hold templates
	tls      *tls.Config
	token    string
	user     string
	password string
}

// secret reports whether the server gets to see a password or a token.
func (s *server) secret() bool { return s.token != "" || s.user != "" }

func serverOf(publisher feed.Publisher, credentials map[string]config.Credential) (*server, error) {
	address, err := url.Parse(publisher.URL)
	if err != nil || address.Hostname() == "" {
		return nil, fault.Field("url", "is no URL with a host")
	}
	if address.User != nil {
		return nil, fault.Field("url", "must not hold a password: name a credential")
	}
	s := &server{url: address, tls: &tls.Config{MinVersion: tls.VersionTLS12, ServerName: address.Hostname()}}
	if len(publisher.CACertificates) > 0 {
		s.tls.RootCAs = x509.NewCertPool()
		for _, bundle := range publisher.CACertificates {
			if !s.tls.RootCAs.AppendCertsFromPEM([]byte(bundle)) {
				return nil, fault.Field("ca_certificates", "hold no certificate in PEM")
			}
		}
	}
	if publisher.Credential == "" {
		return s, nil
	}
	credential, ok := credentials[publisher.Credential]
	if !ok {
		return nil, fault.Field("credential", "this edge has no credential %q", publisher.Credential)
	}
	if !slices.Contains(credential.Hosts, address.Hostname()) && !slices.Contains(credential.Hosts, net.JoinHostPort(address.Hostname(), address.Port())) {
		return nil, fault.FieldOf(fault.Denied, "credential", "%q is not for %s: see hosts in this edge's configuration", publisher.Credential, address.Host)
	}
	return s, s.prove(credential)
}

// prove reads a credential's files.
func (s *server) prove(credential config.Credential) (err error) {
	if credential.TokenFile != "" {
		if s.token, err = secretFrom(credential.TokenFile); err != nil {
			return err
		}
	}
	if credential.Username != "" {
		s.user = credential.Username
		if s.password, err = secretFrom(credential.PasswordFile); err != nil {
			return err
		}
	}
	if credential.CertificateFile != "" {
		pair, err := tls.LoadX509KeyPair(credential.CertificateFile, credential.KeyFile)
		if err != nil {
			return fault.New(fault.Unavailable, "reading the client certificate: %w", err)
		}
		s.tls.Certificates = []tls.Certificate{pair}
	}
	return nil
}

func secretFrom(path string) (string, error) {
	raw, err := os.ReadFile(path)
	if err != nil {
		return "", fault.New(fault.Unavailable, "reading a credential: %w", err)
	}
	secret := strings.TrimRight(string(raw), "\r\n")
	if secret == "" { // an LDAP server takes an empty password for nobody's (RFC 4513 section 5.1.2)
		return "", fault.New(fault.Unavailable, "reading a credential: %s is empty", path)
	}
	return secret, nil
}

var placeholder = regexp.MustCompile(`\{\{\s*([^{}]*?)\s*\}\}`)

// expand fills the templates of an address, each value as escape writes it.
func expand(template, field string, i item, escape func(string) (string, error)) (string, error) {
	values := map[string]string{"issuer_id": i.issuer, "issuer_name": i.name, "list": i.list}
	var failed error
	filled := placeholder.ReplaceAllStringFunc(template, func(found string) string {
		name := placeholder.FindStringSubmatch(found)[1]
		value, known := values[name]
		if !known {
			failed = fault.Field(field, "{{%s}} is not known: there are {{issuer_id}}, {{issuer_name}} and {{list}}", name)
			return ""
		}
		escaped, err := escape(value)
		if err != nil {
			failed = err
		}
		return escaped
	})
	if failed != nil {
		return "", failed
	}
	if strings.Contains(filled, "{{") {
		return "", fault.Field(field, "has a template without an end")
	}
	return filled, nil
}

// oneSegment refuses what would be more than one name in a path.
func oneSegment(value string) (string, error) {
	if value == "" || value == "." || value == ".." || strings.ContainsAny(value, "/\\\x00") {
		return "", fault.New(fault.Invalid, "%q cannot be part of a path: use {{issuer_id}}", value)
	}
	return value, nil
}
