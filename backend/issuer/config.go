package issuer

import (
	"context"
	"fmt"
	"net/url"
	"strings"

	"vault-plugin-secrets-enterprise-pki/backend/fault"
	"vault-plugin-secrets-enterprise-pki/backend/profile"
)

// Defaults are config/issuers.
type Defaults struct {
	Default       string `json:"default" doc:"Reference of the issuer that requests without an issuer use."`
	FollowsLatest bool   `json:"default_follows_latest_issuer" default:"false" doc:"Whether an issuer that is imported together with no other becomes the default."`
}

// URLs are config/urls: what certificates point to unless their issuer says
// otherwise.
type URLs struct {
	IssuingCertificates []string `json:"issuing_certificates" doc:"URLs of the issuer's certificate (AIA caIssuers)."`
	CRLDistribution     []string `json:"crl_distribution_points" doc:"URLs of the CRL. {{crl_shard}} is replaced by the shard of the certificate (shards of config/crl)."`
	DeltaCRLs           []string `json:"delta_crl_distribution_points" doc:"URLs of the delta CRL (freshestCRL), for certificates that name the complete CRL; needs enable_delta in config/crl."`
	OCSPServers         []string `json:"ocsp_servers" doc:"URLs of the OCSP responder (AIA ocsp)."`
	EnableTemplating    bool     `json:"enable_templating" default:"false" doc:"Whether {{issuer_id}}, {{ca_id}}, {{cluster_path}}, {{cluster_aia_path}} and, in crl_distribution_points, {{crl_shard}} are replaced when a certificate is issued."`
}

// Cluster is config/cluster: where this cluster is reached.
type Cluster struct {
	Path    string `json:"path" doc:"URL of this mount on this cluster, such as https://vault.example.com/v1/pki; the value of {{cluster_path}}."`
	AIAPath string `json:"aia_path" doc:"URL under which CRLs and CA certificates are served, usually plain http; the value of {{cluster_aia_path}}."`
}

// single names the one record of a configuration prefix that is itself the key.
const single = ""

func (s *Set) loadConfig(ctx context.Context, next *snapshot) error {
	defaults, err := s.defaults.Get(ctx, single)
	if err != nil {
		return fmt.Errorf("loading config/issuers: %w", err)
	}
	if defaults != nil {
		next.defaults = *defaults
	}
	urls, err := s.urls.Get(ctx, single)
	if err != nil {
		return fmt.Errorf("loading config/urls: %w", err)
	}
	if urls != nil {
		next.urls = *urls
	}
	cluster, err := s.cluster.Get(ctx, single)
	if err != nil {
		return fmt.Errorf("loading config/cluster: %w", err)
	}
	if cluster != nil {
		next.cluster = *cluster
	}
	return nil
}

// Defaults returns config/issuers; Default is an issuer id or "".
func (s *Set) Defaults(ctx context.Context) (Defaults, error) {
	snap, err := s.current(ctx)
	if err != nil {
		return Defaults{}, err
	}
	return snap.defaults, nil
}

// PutDefaults replaces config/issuers, as AmendDefaults changes it.
func (s *Set) PutDefaults(ctx context.Context, d Defaults) (Defaults, error) {
	return s.AmendDefaults(ctx, replacement(d))
}

// AmendDefaults changes config/issuers under the set's lock (race-1) and returns what
// it says then. The default may be given by name, is kept by id, and must have a
// certificate that is not revoked.
func (s *Set) AmendDefaults(ctx context.Context, change func(*Defaults) error) (Defaults, error) {
	var kept Defaults
	err := s.change(ctx, func(snap *snapshot) error {
		kept = snap.defaults
		if err := change(&kept); err != nil {
			return err
		}
		if kept.Default != "" {
			target, err := snap.get(kept.Default)
			if err != nil {
				return fault.FieldOf(fault.Invalid, "default", "%w", err)
			}
			if target.State() == Revoked || target.cert == nil {
				return fault.Field("default", "issuer %s is %s and cannot be the default", target.ID(), target.State())
			}
			if target.ended != "" {
				return fault.Field("default", "issuer %s has the key of issuer %s, which was revoked, and cannot be the default", target.ID(), target.ended)
			}
			kept.Default = target.ID()
		}
		return s.defaults.Put(ctx, single, &kept)
	})
	return kept, err
}

// URLs returns config/urls.
func (s *Set) URLs(ctx context.Context) (URLs, error) {
	snap, err := s.current(ctx)
	if err != nil {
		return URLs{}, err
	}
	return snap.urls, nil
}

// PutURLs replaces config/urls, as AmendURLs changes it.
func (s *Set) PutURLs(ctx context.Context, u URLs) error {
	_, err := s.AmendURLs(ctx, replacement(u))
	return err
}

// AmendURLs changes config/urls under the set's lock (race-1), validates it and returns
// what it says then.
func (s *Set) AmendURLs(ctx context.Context, change func(*URLs) error) (URLs, error) {
	var u URLs
	err := s.change(ctx, func(snap *snapshot) error {
		u = snap.urls
		if err := change(&u); err != nil {
			return err
		}
		if err := checkURLs(profile.URLs{
			IssuingCertificates: u.IssuingCertificates, CRLDistributionPoints: u.CRLDistribution, DeltaCRLs: u.DeltaCRLs, OCSPServers: u.OCSPServers,
		}, u.EnableTemplating); err != nil {
			return err
		}
		return s.urls.Put(ctx, single, &u)
	})
	return u, err
}

// Cluster returns config/cluster.
func (s *Set) Cluster(ctx context.Context) (Cluster, error) {
	snap, err := s.current(ctx)
	if err != nil {
		return Cluster{}, err
	}
	return snap.cluster, nil
}

// PutCluster replaces config/cluster, as AmendCluster changes it.
func (s *Set) PutCluster(ctx context.Context, c Cluster) error {
	_, err := s.AmendCluster(ctx, replacement(c))
	return err
}

// AmendCluster changes config/cluster under the set's lock (race-1), validates it and
// returns what it says then.
func (s *Set) AmendCluster(ctx context.Context, change func(*Cluster) error) (Cluster, error) {
	var c Cluster
	err := s.change(ctx, func(snap *snapshot) error {
		c = snap.cluster
		if err := change(&c); err != nil {
			return err
		}
		for field, value := range map[string]string{"path": c.Path, "aia_path": c.AIAPath} {
			if err := checkURL(field, value); value != "" && err != nil {
				return err
			}
		}
		return s.cluster.Put(ctx, single, &c)
	})
	return c, err
}

// change runs one write under mu on a loaded snapshot and publishes what storage
// then holds. After a failed write the snapshot is dropped, because the write may
// have happened all the same.
func (s *Set) change(ctx context.Context, write func(*snapshot) error) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	defer s.letGo()
	if s.snap.Load() == nil {
		if err := s.load(ctx); err != nil {
			return err
		}
	}
	if err := write(s.snap.Load()); err != nil {
		if fault.Is(err, fault.Internal) {
			s.Invalidate()
		}
		return err
	}
	s.authorities.Clear()
	return s.load(ctx)
}

// CRLShard stands in a URL of crl_distribution_points for the shard that covers a
// certificate. URLsFor leaves it in: the serial number decides.
const CRLShard = "{{crl_shard}}"

// URLsFor returns what a certificate of this issuer points to.
func (s *Set) URLsFor(ctx context.Context, i *Issuer) (profile.URLs, error) {
	snap, err := s.current(ctx)
	if err != nil {
		return profile.URLs{}, err
	}
	own := i.Settings()
	pick := func(mine, general []string) ([]string, error) {
		list, templating := general, snap.urls.EnableTemplating
		if len(mine) > 0 {
			list, templating = mine, own.EnableAIATemplating
		}
		if !templating {
			return list, nil
		}
		return snap.expand(list, i)
	}
	var urls profile.URLs
	if urls.IssuingCertificates, err = pick(own.IssuingCertificates, snap.urls.IssuingCertificates); err != nil {
		return urls, err
	}
	if urls.CRLDistributionPoints, err = pick(own.CRLDistribution, snap.urls.CRLDistribution); err != nil {
		return urls, err
	}
	if urls.DeltaCRLs, err = pick(own.DeltaCRLs, snap.urls.DeltaCRLs); err != nil {
		return urls, err
	}
	urls.OCSPServers, err = pick(own.OCSPServers, snap.urls.OCSPServers)
	return urls, err
}

// expand fills in the templates of the built-in engine. An empty cluster path is an
// error, because the certificate would point to nowhere.
func (n *snapshot) expand(list []string, i *Issuer) ([]string, error) {
	out := make([]string, 0, len(list))
	for _, text := range list {
		if strings.Contains(text, "{{cluster_path}}") && n.cluster.Path == "" ||
			strings.Contains(text, "{{cluster_aia_path}}") && n.cluster.AIAPath == "" {
			return nil, fault.New(fault.Invalid, "URL %s needs a cluster path: write path and aia_path to config/cluster", text)
		}
		filled := templates(i.ID(), i.CA(), n.cluster).Replace(text)
		if err := checkURL("urls", strings.ReplaceAll(filled, CRLShard, exampleShard)); err != nil {
			return nil, err
		}
		out = append(out, filled)
	}
	return out, nil
}

func checkURLs(urls profile.URLs, templating bool) error {
	lists := []struct {
		field string
		urls  []string
	}{
		{"issuing_certificates", urls.IssuingCertificates},
		{crlField, urls.CRLDistributionPoints},
		{"delta_crl_distribution_points", urls.DeltaCRLs},
		{"ocsp_servers", urls.OCSPServers},
	}
	for _, list := range lists {
		for _, text := range list.urls {
			if templating {
				text = example.Replace(text)
			}
			if templating && list.field == crlField {
				text = strings.ReplaceAll(text, CRLShard, exampleShard)
			}
			if err := checkURL(list.field, text); err != nil {
				return err
			}
		}
	}
	return nil
}

const (
	crlField     = "crl_distribution_points"
	exampleShard = "128-127"
)

// templates fills in what a URL may leave open.
func templates(id, ca string, cluster Cluster) *strings.Replacer {
	return strings.NewReplacer(issuerID, id, caID, ca, "{{cluster_path}}", cluster.Path, "{{cluster_aia_path}}", cluster.AIAPath)
}

// example shows what a template will look like, so that a misspelled one is refused
// when it is written and not when it is in a certificate.
var example = templates("id", "ca", Cluster{Path: "https://host/v1/pki", AIAPath: "http://host/v1/pki"})

// checkURL holds URLs to what an IA5String of a certificate may carry (RFC 5280
// section 4.2.1.6) and every reader of it takes for the same.
func checkURL(field, text string) error {
	odd := func(r rune) bool { return r <= ' ' || r > '~' || strings.ContainsRune("\"<>\\^`{|}", r) }
	u, err := url.Parse(text)
	switch {
	case err != nil || u.Host == "" || u.Scheme != "http" && u.Scheme != "https" && u.Scheme != "ldap":
		return fault.Field(field, "%q is not an http, https or ldap URL", text)
	case u.User != nil:
		return fault.Field(field, "must not hold a user or password")
	case strings.ContainsFunc(text, odd):
		return fault.Field(field, "%q must be a URL in plain ASCII, and its templates {{issuer_id}}, {{ca_id}}, {{cluster_path}} or {{cluster_aia_path}}, in crl_distribution_points also {{crl_shard}}", text)
	}
	return nil
}
