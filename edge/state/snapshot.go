package state

import (
	"crypto/x509"
	"encoding/hex"
	"fmt"
	"regexp"
	"strconv"
	"time"

	"vault-plugin-secrets-enterprise-pki/backend/cert"
	"vault-plugin-secrets-enterprise-pki/backend/fault"
	"vault-plugin-secrets-enterprise-pki/backend/feed"
)

// Snapshot is everything that an edge serves at one moment. Nobody changes one.
type Snapshot struct {
	// Manifest is what the mount said last; the lists that are held are those of Issuers.
	Manifest feed.Manifest
	Issuers  []*Issuer
	// Rows is nil until all of them were there once.
	Rows *Rows
	// Sequence is the cursor up to which Rows is whole.
	Sequence int64
	// Synced is when the mount last said that there is nothing newer than Rows; zero:
	// never. What Rows says is the truth of that time.
	Synced time.Time
	// Starting says that Rows is what the disk had, and that the mount was not asked yet
	// whether there is more.
	Starting bool
}

// Issuer is one CA certificate with the lists that are held of it.
type Issuer struct {
	ID, Name    string
	Certificate *x509.Certificate
	Chain       []*x509.Certificate // above it, as far as they are known
	OCSP        bool
	Imported    bool
	CRLSigning  bool // by the mount
	Lists       []List
	URLs        URLs
}

// URLs are the URLs at which certificates say that something of an issuer is, beside
// those of its lists.
type URLs struct {
	OCSP, CAIssuers []string
	// Earlier are those, the lists' included, that only certificates of earlier settings
	// name: they give way to the present URLs of every issuer.
	Earlier map[string]bool
}

// List is one CRL that is held: verified, and on disk under its hash.
type List struct {
	Kind       feed.ListKind `json:"kind"`
	Shard      string        `json:"shard,omitempty"` // "8-3"
	Number     int64         `json:"number"`          // of the edition, as the mount counts
	CRLNumber  string        `json:"crl_number,omitempty"`
	BaseNumber int64         `json:"base_number,omitempty"`
	ThisUpdate time.Time     `json:"this_update"`
	NextUpdate time.Time     `json:"next_update"`
	Size       int64         `json:"size"`
	SHA256     string        `json:"sha256"` // hexadecimal
	URLs       []string      `json:"urls,omitempty"`
}

// CRL returns the CRL number in decimal.
func (l *List) CRL() string {
	if l.CRLNumber != "" {
		return l.CRLNumber
	}
	return strconv.FormatInt(l.Number, 10)
}

// Name returns what tells the lists of an issuer apart: "complete", "delta" or a
// shard, as paths of the mount name it.
func (l *List) Name() string {
	if l.Kind == feed.Shard {
		return l.Shard
	}
	return string(l.Kind)
}

// Find returns a list by its Name, nil when it is not held.
func (i *Issuer) Find(name string) *List {
	for k := range i.Lists {
		if i.Lists[k].Name() == name {
			return &i.Lists[k]
		}
	}
	return nil
}

// ByID returns an issuer, nil when there is none.
func (s *Snapshot) ByID(id string) *Issuer {
	for _, issuer := range s.Issuers {
		if issuer.ID == id {
			return issuer
		}
	}
	return nil
}

// Staleness returns how old the truth of Rows is, 0 for a clock that was set back.
// Without rows it is meaningless.
func (s *Snapshot) Staleness(now time.Time) time.Duration { return max(now.Sub(s.Synced), 0) }

// Limit returns how stale Rows may be for a new answer, 0: however stale.
func (s *Snapshot) Limit() time.Duration {
	return time.Duration(s.Manifest.StalenessLimit) * time.Second
}

// Current reports whether there are rows, which may be said: neither staler than the
// limit, nor Starting.
func (s *Snapshot) Current(now time.Time) bool {
	limit := s.Limit()
	return s.Rows != nil && !s.Starting && (limit == 0 || s.Staleness(now) <= limit)
}

// What a mount may send. Ids become names of files, and all of it parts of URLs.
const (
	maxIssuers = 4096
	maxLists   = 2048    // of one issuer
	maxList    = 1 << 30 // octets
	maxURLs    = 1024    // of one issuer or list
)

var (
	idForm    = regexp.MustCompile(`^[A-Za-z0-9-]{1,64}$`)
	shardForm = regexp.MustCompile(`^[0-9]{1,3}-[0-9]{1,3}$`)
)

// ReadIssuers parses what a manifest says about issuers and lists. It refuses the
// manifest as a whole: half of one would take the other half off the net.
func ReadIssuers(manifest *feed.Manifest) ([]*Issuer, error) {
	if len(manifest.Issuers) > maxIssuers {
		return nil, fault.New(fault.TooLarge, "the manifest has %d issuers, more than %d", len(manifest.Issuers), maxIssuers)
	}
	issuers := make([]*Issuer, len(manifest.Issuers))
	for i := range manifest.Issuers {
		var err error
		if issuers[i], err = readIssuer(&manifest.Issuers[i]); err != nil {
			return nil, err
		}
	}
	return issuers, nil
}

func readIssuer(from *feed.Issuer) (*Issuer, error) {
	if !idForm.MatchString(from.ID) {
		return nil, fault.New(fault.Invalid, "the manifest has an issuer with the id %s", strconv.Quote(from.ID))
	}
	issuer := &Issuer{ID: from.ID, Name: from.Name, OCSP: from.OCSP, Imported: from.Imported, CRLSigning: from.CRLSigning}
	own, err := readCertificate(from.Certificate)
	if err != nil {
		return nil, fmt.Errorf("reading the certificate of issuer %s: %w", from.ID, err)
	}
	issuer.Certificate = own
	for _, text := range from.Chain {
		above, err := readCertificate(text)
		if err != nil {
			return nil, fmt.Errorf("reading the chain of issuer %s: %w", from.ID, err)
		}
		issuer.Chain = append(issuer.Chain, above)
	}
	if issuer.URLs, err = readURLs(from); err != nil {
		return nil, err
	}
	if len(from.Lists) > maxLists {
		return nil, fault.New(fault.TooLarge, "issuer %s has %d lists, more than %d", from.ID, len(from.Lists), maxLists)
	}
	for k := range from.Lists {
		list, err := readList(&from.Lists[k])
		if err != nil {
			return nil, fmt.Errorf("reading the lists of issuer %s: %w", from.ID, err)
		}
		issuer.Lists = append(issuer.Lists, list)
	}
	return issuer, nil
}

func readURLs(from *feed.Issuer) (URLs, error) {
	urls := URLs{OCSP: from.OCSPURLs, CAIssuers: from.CAIssuersURLs, Earlier: map[string]bool{}}
	if most := max(len(urls.OCSP), len(urls.CAIssuers), len(from.EarlierURLs)); most > maxURLs {
		return URLs{}, fault.New(fault.TooLarge, "issuer %s has %d URLs, more than %d", from.ID, most, maxURLs)
	}
	for _, url := range from.EarlierURLs {
		urls.Earlier[url] = true
	}
	return urls, nil
}

func readCertificate(text string) (*x509.Certificate, error) {
	certificates, _, err := cert.ParseCertificates([]byte(text))
	if err != nil {
		return nil, err
	}
	if len(certificates) != 1 {
		return nil, fault.New(fault.Invalid, "%d certificates instead of one", len(certificates))
	}
	return certificates[0], nil
}

func readList(from *feed.List) (List, error) {
	list := List{
		Kind: feed.ListKind(from.Kind), Shard: from.Shard, Number: from.Number, CRLNumber: from.CRLNumber, BaseNumber: from.BaseNumber,
		Size: from.Size, SHA256: from.SHA256, URLs: from.URLs,
	}
	switch {
	case list.Kind == feed.Shard && shardForm.MatchString(list.Shard):
	case (list.Kind == feed.Complete || list.Kind == feed.Delta) && list.Shard == "":
	default:
		return List{}, fault.New(fault.Invalid, "a list of the kind %q and the shard %q", from.Kind, from.Shard)
	}
	if digest, err := hex.DecodeString(list.SHA256); err != nil || len(digest) != 32 || hex.EncodeToString(digest) != list.SHA256 {
		return List{}, fault.New(fault.Invalid, "list %s has no SHA-256 in lower-case hexadecimal", list.Name())
	}
	if list.CRLNumber != "" {
		if _, err := cert.ParseCRLNumber(list.CRLNumber); err != nil {
			return List{}, fault.New(fault.Invalid, "list %s: crl_number %w", list.Name(), err)
		}
	}
	if list.Size < 1 || list.Size > maxList {
		return List{}, fault.New(fault.TooLarge, "CRL %s has a size of %d bytes; it must be 1 to %d", list.Name(), list.Size, maxList)
	}
	if len(list.URLs) > maxURLs {
		return List{}, fault.New(fault.TooLarge, "list %s has %d URLs, more than %d", list.Name(), len(list.URLs), maxURLs)
	}
	var err error
	if list.ThisUpdate, err = time.Parse(time.RFC3339, from.ThisUpdate); err != nil {
		return List{}, fault.New(fault.Invalid, "list %s: this_update is no RFC 3339 time", list.Name())
	}
	if list.NextUpdate, err = time.Parse(time.RFC3339, from.NextUpdate); err != nil {
		return List{}, fault.New(fault.Invalid, "list %s: next_update is no RFC 3339 time", list.Name())
	}
	return list, nil
}
