package publisher

import (
	"maps"
	"net/url"
	"path"
	"regexp"
	"slices"
	"strings"

	"vault-plugin-secrets-enterprise-pki/backend/cert"
	"vault-plugin-secrets-enterprise-pki/backend/fault"
)

// The types of publishers.
const (
	HTTPPut = "http-put"
	LDAP    = "ldap"
	File    = "file"
)

// What a publisher may publish.
const (
	complete    = "complete"
	delta       = "delta"
	shards      = "shards"
	certificate = "certificate"
)

// Settings are publishers/:name.
type Settings struct {
	Type                   string   `json:"type" enum:"http-put|ldap|file" doc:"How to publish: HTTP PUT, an LDAP directory, or files of the edge's machine."`
	Issuers                []string `json:"issuers" items:"100" blank:"refuse" doc:"Ids or names of the issuers to publish for; empty: all."`
	Publish                []string `json:"publish" items:"4" blank:"refuse" default:"complete,delta,shards,certificate" enum:"complete|delta|shards|certificate" doc:"Objects of each issuer to publish."`
	URL                    string   `json:"url" max:"2048" doc:"Types http-put and ldap: URL of the target, without user or password. The path of an http or https URL may contain {{issuer_id}}, {{issuer_name}} and {{list}}."`
	Path                   string   `json:"path" max:"1024" doc:"Type file: absolute path on the edge's machine. It may contain {{issuer_id}}, {{issuer_name}} and {{list}}. The edge's configuration must allow the directory."`
	BaseDN                 string   `json:"base_dn" max:"1024" doc:"Type ldap: DN of the entry. It may contain {{issuer_id}}, {{issuer_name}} and {{list}}. It must contain {{list}} if shards are published, because an entry holds one CRL."`
	StartTLS               bool     `json:"start_tls" default:"false" doc:"Type ldap: use StartTLS with an ldap URL."`
	CRLAttribute           string   `json:"crl_attribute" max:"128" doc:"Type ldap: attribute for complete CRLs. If empty: certificateRevocationList;binary."`
	DeltaCRLAttribute      string   `json:"delta_crl_attribute" max:"128" doc:"Type ldap: attribute for delta CRLs. If empty: deltaRevocationList;binary."`
	CACertificateAttribute string   `json:"ca_certificate_attribute" max:"128" doc:"Type ldap: attribute for CA certificates; empty: cACertificate;binary."`
	CACertificates         string   `json:"ca_certificates" kind:"pem" max:"65536" doc:"Certificates in PEM that the server's certificate must chain to; empty: those of the edge's system."`
	Credential             string   `json:"credential" max:"128" doc:"Name of a credential in the edge's own configuration; empty: none. Secrets never pass through the mount."`
}

// list stands for what is published: complete, delta, certificate or a shard.
const list = "{{list}}"

// templates are what URLs, paths and DNs may hold.
var templates = []string{"{{issuer_id}}", "{{issuer_name}}", list}

// plain returns a text without its templates, which must be known ones.
func plain(field, text string) (string, error) {
	for _, template := range templates {
		text = strings.ReplaceAll(text, template, "x")
	}
	if strings.ContainsAny(text, "{}") {
		return "", fault.Field(field, "must hold no braces but those of %s", fault.List(templates))
	}
	return text, nil
}

// check refuses settings that no edge could follow. Names of issuers are not looked up.
func (s *Settings) check() error {
	if len(s.Publish) == 0 {
		return fault.Field("publish", "must name something to publish: complete, delta, shards or certificate")
	}
	for _, what := range s.Publish {
		if !slices.Contains([]string{complete, delta, shards, certificate}, what) {
			return fault.Field("publish", "must hold only complete, delta, shards and certificate")
		}
	}
	if err := s.checkShared(); err != nil {
		return err
	}
	switch s.Type {
	case HTTPPut:
		return s.checkHTTP()
	case LDAP:
		return s.checkLDAP()
	case File:
		return s.checkFile()
	}
	return fault.Field("type", "must be http-put, ldap or file")
}

var credentialName = regexp.MustCompile(`^[A-Za-z0-9_]([A-Za-z0-9_.-]*[A-Za-z0-9_])?$`)

func (s *Settings) checkShared() error {
	if s.Credential != "" && !credentialName.MatchString(s.Credential) {
		return fault.Field("credential", `must be the name of a credential: letters, digits, "_", "-" and "."`)
	}
	if s.CACertificates == "" {
		return nil
	}
	certificates, others, err := cert.ParseCertificates([]byte(s.CACertificates))
	if err != nil {
		return fault.FieldOf(fault.Invalid, "ca_certificates", "%w", err)
	}
	if len(certificates) == 0 || len(others) > 0 {
		return fault.Field("ca_certificates", "must hold certificates in PEM and nothing else")
	}
	return nil
}

// foreign refuses fields that belong to another type.
func (s *Settings) foreign(fields map[string]bool) error {
	for _, name := range slices.Sorted(maps.Keys(fields)) {
		if fields[name] {
			return fault.Field(name, "is not for publishers of type %s", s.Type)
		}
	}
	return nil
}

func (s *Settings) ldapFields() map[string]bool {
	return map[string]bool{
		"base_dn": s.BaseDN != "", "start_tls": s.StartTLS, "crl_attribute": s.CRLAttribute != "",
		"delta_crl_attribute": s.DeltaCRLAttribute != "", "ca_certificate_attribute": s.CACertificateAttribute != "",
	}
}

func (s *Settings) checkHTTP() error {
	others := s.ldapFields()
	others["path"] = s.Path != ""
	if err := s.foreign(others); err != nil {
		return err
	}
	if _, err := plain("url", s.URL); err != nil {
		return err
	}
	parsed, err := checkURL(s.URL, "http", "https") // lets no host have braces
	if err != nil {
		return err
	}
	if s.Credential != "" && parsed.Scheme != "https" {
		return fault.Field("credential", "must not be sent to an http URL; use https")
	}
	if s.CACertificates != "" && parsed.Scheme != "https" {
		return fault.Field("ca_certificates", "must be left out for an http URL")
	}
	return s.apart("url", s.URL)
}

func (s *Settings) checkFile() error {
	others := s.ldapFields()
	others["url"], others["ca_certificates"], others["credential"] = s.URL != "", s.CACertificates != "", s.Credential != ""
	if err := s.foreign(others); err != nil {
		return err
	}
	text, err := plain("path", s.Path)
	if err != nil {
		return err
	}
	if !path.IsAbs(text) || path.Clean(text) != text || text == "/" || strings.ContainsFunc(text, control) {
		return fault.Field("path", `must be an absolute path of a file without ".", ".." and empty parts`)
	}
	return s.apart("path", s.Path)
}

// attribute is an LDAP attribute description with options (RFC 4512 section 2.5).
var attribute = regexp.MustCompile(`^[A-Za-z][A-Za-z0-9-]*(;[A-Za-z0-9-]+)*$`)

func (s *Settings) checkLDAP() error {
	if err := s.foreign(map[string]bool{"path": s.Path != ""}); err != nil {
		return err
	}
	parsed, err := checkURL(s.URL, "ldap", "ldaps")
	if err != nil {
		return err
	}
	if strings.Trim(parsed.Path, "/") != "" || parsed.RawQuery != "" {
		return fault.Field("url", "must end after the host and port; the entry is base_dn")
	}
	if s.StartTLS && parsed.Scheme != "ldap" {
		return fault.Field("start_tls", "must be left out for an ldaps URL, which has TLS")
	}
	tls := s.StartTLS || parsed.Scheme == "ldaps"
	if s.CACertificates != "" && !tls {
		return fault.Field("ca_certificates", "must be left out without TLS")
	}
	if s.Credential != "" && !tls {
		return fault.Field("credential", "must not be sent without TLS: use ldaps, or start_tls")
	}
	for field, text := range map[string]string{
		"crl_attribute": s.CRLAttribute, "delta_crl_attribute": s.DeltaCRLAttribute, "ca_certificate_attribute": s.CACertificateAttribute,
	} {
		if text != "" && !attribute.MatchString(text) {
			return fault.Field(field, "must be an attribute such as certificateRevocationList;binary")
		}
	}
	dn, err := plain("base_dn", s.BaseDN)
	if err != nil {
		return err
	}
	if !strings.Contains(dn, "=") || strings.ContainsFunc(dn, control) {
		return fault.Field("base_dn", "must be the DN of an entry such as cn=ca,dc=example,dc=com")
	}
	if !strings.Contains(s.BaseDN, list) && !s.attributesDiffer() {
		return fault.Field("base_dn", "must hold {{list}}, or publish must leave out what has the attribute of something else: shards have that of the complete list")
	}
	return s.oneIssuer("base_dn", s.BaseDN)
}

// attributesDiffer reports whether one entry has an attribute for each thing to publish.
func (s *Settings) attributesDiffer() bool {
	told := record{Settings: *s}.told("").LDAP
	used := map[string]bool{}
	for _, what := range s.Publish {
		attribute := told.CRL
		switch what {
		case shards:
			return false // which are many
		case delta:
			attribute = told.DeltaCRL
		case certificate:
			attribute = told.CACertificate
		}
		name, _, _ := strings.Cut(strings.ToLower(attribute), ";")
		if used[name] {
			return false
		}
		used[name] = true
	}
	return true
}

// apart refuses a place where one thing would overwrite another.
func (s *Settings) apart(field, text string) error {
	if (len(s.Publish) > 1 || s.Publish[0] == shards) && !strings.Contains(text, list) {
		return fault.Field(field, "must hold {{list}}, since there is more than one thing to publish")
	}
	return s.oneIssuer(field, text)
}

func (s *Settings) oneIssuer(field, text string) error {
	if len(s.Issuers) != 1 && !strings.Contains(text, "{{issuer_id}}") && !strings.Contains(text, "{{issuer_name}}") {
		return fault.Field(field, "must hold {{issuer_id}} or {{issuer_name}}, since there is more than one issuer to publish for")
	}
	return nil
}

// checkURL returns a URL of one of the schemes. The message does not repeat it: it may
// hold a password.
func checkURL(text string, schemes ...string) (*url.URL, error) {
	parsed, err := url.Parse(text)
	if err != nil || !slices.Contains(schemes, parsed.Scheme) || parsed.Hostname() == "" || parsed.Opaque != "" {
		return nil, fault.Field("url", "must be a URL of scheme %s with a host", fault.List(schemes))
	}
	if parsed.User != nil {
		return nil, fault.Field("url", "must not hold a user or password: name a credential of the edge")
	}
	if parsed.Fragment != "" || strings.ContainsFunc(text, func(r rune) bool { return r <= ' ' || r > '~' }) {
		return nil, fault.Field("url", "must be plain ASCII without spaces and without a fragment")
	}
	return parsed, nil
}

func control(r rune) bool { return r < ' ' || r == 0x7f }
