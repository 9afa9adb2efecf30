package feed

// What follows are the answers under edge/, field by field. Times are RFC 3339 in UTC.

// MaxNumber is the largest number that crosses Vault exactly: JSON numbers of an
// external plugin are floating point. A list with a larger number is in no manifest.
const MaxNumber = 1<<53 - 1

// ListKind is a kind of CRL.
type ListKind string

// The kinds of CRL.
const (
	Complete ListKind = "complete"
	Delta    ListKind = "delta"
	Shard    ListKind = "shard"
)

// Manifest is edge/manifest: everything that an edge shows or acts on, but for the
// status of single certificates.
type Manifest struct {
	Epoch      string      `json:"epoch" doc:"Names the process that numbers changes now, hexadecimal; see edge/status."`
	Sequence   int64       `json:"sequence" doc:"Sequence number of the newest change, 0 while the ledger loads: whoever has a lower cursor has something to fetch."`
	Issuers    []Issuer    `json:"issuers" doc:"CA certificates of the mount with their lists."`
	OCSP       OCSP        `json:"ocsp" doc:"How OCSP is answered."`
	Publishers []Publisher `json:"publishers" doc:"What the edge publishes elsewhere."`
	Repository
}

// Repository is what the repository page says beside the issuers.
type Repository struct {
	Organization   string     `json:"organization" doc:"Who runs the CAs, as the repository page shows it."`
	Documents      []Document `json:"documents" doc:"CP, CPS and other documents of the repository page."`
	StalenessLimit int64      `json:"staleness_limit_seconds" doc:"How long an edge that cannot reach the mount signs new OCSP answers."`
}

// Issuer is one CA certificate.
type Issuer struct {
	ID          string   `json:"id" doc:"Id of the issuer."`
	Name        string   `json:"name" doc:"Name of the issuer, may be empty."`
	Certificate string   `json:"certificate" doc:"The certificate in PEM."`
	Chain       []string `json:"chain" doc:"The certificates above it in PEM, up to the root as far as they are known."`
	CRLSigning  bool     `json:"crl_signing" doc:"Whether the mount signs its CRLs."`
	OCSP        bool     `json:"ocsp" doc:"Whether its certificates may be asked about by OCSP."`
	Imported    bool     `json:"imported" doc:"Whether its list was signed elsewhere and imported, as that of an offline root."`
	Lists       []List   `json:"lists" doc:"Its CRLs."`
	// What follows came later: an edge of an earlier release does not look at it, a mount
	// of one does not say it.
	OCSPURLs      []string `json:"ocsp_urls,omitempty" doc:"URLs at which certificates say that its OCSP responder is."`
	CAIssuersURLs []string `json:"ca_issuers_urls,omitempty" doc:"URLs at which certificates say that its certificate is (AIA caIssuers)."`
	EarlierURLs   []string `json:"earlier_urls,omitempty" doc:"Those of its URLs, the lists' included, that live certificates name and the present settings do not. Another issuer whose present settings name one of them has it."`
}

// List is one CRL. Number, size and hash name one sequence of octets for ever.
type List struct {
	Kind       string   `json:"kind" doc:"complete, delta or shard."`
	Shard      string   `json:"shard" doc:"Which shard: COUNT-INDEX, such as 8-3; empty for the others."`
	Number     int64    `json:"number" doc:"CRL number (RFC 5280 section 5.2.3)."`
	BaseNumber int64    `json:"base_number,omitempty" doc:"Number of the complete list that a delta adds to."`
	ThisUpdate string   `json:"this_update" doc:"When the list was made, RFC 3339."`
	NextUpdate string   `json:"next_update" doc:"When the next one is due, RFC 3339."`
	Size       int64    `json:"size" doc:"Octets of DER."`
	SHA256     string   `json:"sha256" doc:"Hash of the DER, hexadecimal."`
	URLs       []string `json:"urls" doc:"URLs at which certificates say that the list is, those of earlier settings included."`
}

// OCSP is how the mount answers, which its edges follow.
type OCSP struct {
	Disabled      bool   `json:"disabled" doc:"Every request is answered with unauthorized."`
	Expiry        int64  `json:"expiry_seconds" doc:"How long an answer is valid; 0: no nextUpdate."`
	NeverIssued   string `json:"never_issued" doc:"Answer for serials that were never issued: unknown, revoked or unauthorized."`
	Nonce         bool   `json:"nonce" doc:"Whether nonces are repeated."`
	SHA1          bool   `json:"sha1" doc:"Whether requests that name the issuer by SHA-1 are answered."`
	ArchiveCutoff int64  `json:"archive_cutoff_seconds" doc:"How long after their end certificates are still answered for; 0: answers do not say."`
}

// Document is one entry of the repository page.
type Document struct {
	Title string `json:"title" doc:"Title of the document."`
	URL   string `json:"url" doc:"Where it is."`
}

// Publisher is publishers/:name: somewhere else to put lists and certificates. It
// names credentials and never holds one.
type Publisher struct {
	Name           string        `json:"name" doc:"Name of the publisher."`
	Version        int64         `json:"version" doc:"Grows with each change of the publisher."`
	Type           string        `json:"type" doc:"http-put, ldap or file."`
	Issuers        []string      `json:"issuers" doc:"Ids of the issuers to publish for; empty: all."`
	Publish        []string      `json:"publish" doc:"What to publish: complete, delta, shards, certificate."`
	URL            string        `json:"url" doc:"Where to: an http or https URL with templates, or an ldap or ldaps URL."`
	Path           string        `json:"path" doc:"Type file: absolute path with templates."`
	LDAP           PublisherLDAP `json:"ldap" doc:"Type ldap: where in the directory."`
	CACertificates []string      `json:"ca_certificates" doc:"Certificates in PEM that the server's certificate must chain to; empty: those of the edge's system."`
	Credential     string        `json:"credential" doc:"Name of a credential in the edge's own configuration; empty: none."`
}

// PublisherLDAP says where in a directory lists and certificates go.
type PublisherLDAP struct {
	BaseDN        string `json:"base_dn" doc:"Entry to write to, with templates."`
	StartTLS      bool   `json:"start_tls" doc:"Whether to ask for TLS on an ldap URL."`
	CRL           string `json:"crl" doc:"Attribute for complete lists."`
	DeltaCRL      string `json:"delta_crl" doc:"Attribute for delta lists."`
	CACertificate string `json:"ca_certificate" doc:"Attribute for CA certificates."`
}

// Status is edge/status/:issuer: one page of the status feed.
type Status struct {
	Epoch    string `json:"epoch" doc:"To be given with the next call."`
	Sequence int64  `json:"sequence" doc:"Cursor, to be given as since with the next call."`
	More     bool   `json:"more" doc:"Whether there are more changes already."`
	Reset    bool   `json:"reset" doc:"The cursor given does not belong to this history: the rows are from the beginning, and what the edge has is to be dropped once more is false."`
	Count    int    `json:"count" doc:"Rows in this answer."`
	Rows     string `json:"rows" doc:"The rows, base64; see docs/design/status-feed.md."`
}

// Chunk is edge/crl/...: one piece of a CRL.
type Chunk struct {
	Data string `json:"data" doc:"Octets of the list, base64, at most 480 KiB of them."`
	Last bool   `json:"last" doc:"Whether this is the last piece."`
}

// OCSPSigner is edge/ocsp-signer/:issuer: a delegated responder's certificate.
type OCSPSigner struct {
	Certificate  string `json:"certificate" doc:"The certificate in PEM."`
	IssuerID     string `json:"issuer_id" doc:"Id of the issuer that signed it."`
	SerialNumber string `json:"serial_number" doc:"Serial number."`
	NotAfter     string `json:"not_after" doc:"When it ends, RFC 3339."`
}

// Report is what an edge says about its publishing: POST publishers/:name/status.
type Report struct {
	Edge  string       `json:"edge" required:"true" max:"128" doc:"Name of the edge."`
	Items []ReportItem `json:"items" items:"400" doc:"What it has published or failed to."`
}

// ReportItem is one thing that was published, or not.
type ReportItem struct {
	Issuer string `json:"issuer" max:"64" doc:"Id of the issuer."`
	List   string `json:"list" max:"32" doc:"complete, delta, a shard such as 8-3, or certificate."`
	Number int64  `json:"number" doc:"CRL number; 0 for a certificate."`
	SHA256 string `json:"sha256" max:"64" doc:"Hash of what was read back, hexadecimal."`
	At     string `json:"at" max:"40" doc:"When, RFC 3339."`
	Error  string `json:"error" max:"512" doc:"Why it failed; empty when it did not."`
}
