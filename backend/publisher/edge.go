package publisher

import (
	"net/url"
	"strings"

	"vault-plugin-secrets-enterprise-pki/backend/fault"
	"vault-plugin-secrets-enterprise-pki/backend/feed"
)

// Edge is config/edge: what every edge of the mount does alike.
type Edge struct {
	Organization   string   `json:"organization" max:"256" doc:"Organization that operates the CAs, for the repository page."`
	Documents      []string `json:"documents" items:"50" blank:"refuse" doc:"CP, CPS and other documents of the repository page, each as TITLE|URL."`
	StalenessLimit int64    `json:"staleness_limit" kind:"duration" default:"24h" doc:"How long an edge that cannot reach the mount signs new OCSP responses from its data, 1m to 30 days."`
}

// DefaultEdge returns config/edge of a mount that never wrote it.
func DefaultEdge() Edge { return Edge{StalenessLimit: 24 * 3600} }

// The bounds of staleness_limit in seconds.
const (
	minStaleness = 60
	maxStaleness = 30 * 24 * 3600
)

// repository is what edges are told of config/edge.
func (e *Edge) repository() (feed.Repository, error) {
	if e.StalenessLimit < minStaleness || e.StalenessLimit > maxStaleness {
		return feed.Repository{}, fault.Field("staleness_limit", "must be from 1m to 30 days, not %d seconds", e.StalenessLimit)
	}
	if strings.ContainsFunc(e.Organization, control) {
		return feed.Repository{}, fault.Field("organization", "must not hold control characters")
	}
	r := feed.Repository{Organization: e.Organization, StalenessLimit: e.StalenessLimit}
	for _, text := range e.Documents {
		title, address, found := strings.Cut(text, "|")
		title, address = strings.TrimSpace(title), strings.TrimSpace(address)
		if !found || title == "" || strings.ContainsFunc(title, control) {
			return feed.Repository{}, fault.Field("documents", "must be TITLE|URL each")
		}
		u, err := url.Parse(address)
		// Nothing but these schemes becomes a link on a page.
		if err != nil || u.Scheme != "https" && u.Scheme != "http" || u.Hostname() == "" || u.User != nil {
			return feed.Repository{}, fault.Field("documents", "%q must have an http or https URL without user and password", title)
		}
		r.Documents = append(r.Documents, feed.Document{Title: title, URL: address})
	}
	return r, nil
}
