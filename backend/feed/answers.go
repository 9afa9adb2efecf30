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
	Epoch      string      `json:"epoch" doc:"Identifier of the process that numbers changes now, hexadecimal; see edge/status."`
	Sequence   int64       `json:"sequence" doc:"Sequence number of the newest change, 0 while the ledger loads. An edge with a lower cursor has changes to fetch."`
	Issuers    []Issuer    `json:"issuers" doc:"CA certificates of the mount with their CRLs."`
	OCSP       OCSP        `json:"ocsp" doc:"Settings of OCSP."`
	Publishers []Publisher `json:"publishers" doc:"Publishers that the edge carries out."`
	Repository
}

// Repository is what the repository page says beside the issuers.
type Repository struct {
	Organization   string     `json:"organization" doc:"Organization that operates the CAs, for the repository page."`
	Documents      []Document `json:"documents" doc:"CP, CPS and other documents of the repository page."`
	StalenessLimit int64      `json:"staleness_limit_seconds" doc:"How long an edge that cannot reach the mount signs new OCSP responses."`
}

// Issuer is one CA certificate.
type Issuer struct {
	ID          string   `json:"id" doc:"Id of the issuer."`
	Name        string   `json:"name" doc:"Name of the issuer, may be empty."`
	CA          string   `json:"ca_id" doc:"Id of the CA that the issuer is a certificate of: its CRLs and what became of its certificates are the same for all issuers of the CA."`
	Deleted     bool     `json:"deleted" doc:"Whether the issuer was deleted while certificates of its CA live: it is served where certificates point to it, and not shown."`
	Certificate string   `json:"certificate" doc:"The certificate in PEM."`
	Chain       []string `json:"chain" doc:"The certificates of its parent CAs in PEM, up to the root if it is known."`
	CRLSigning  bool     `json:"crl_signing" doc:"Whether the mount signs its CRLs."`
	OCSP        bool     `json:"ocsp" doc:"Whether OCSP is available for its certificates."`
	Imported    bool     `json:"imported" doc:"Whether its CRL was signed elsewhere and imported, such as that of an offline root."`
	Lists       []List   `json:"lists" doc:"Its CRLs."`
	// What follows came later: an edge of an earlier release does not look at it, a mount
	// of one does not say it.
	OCSPURLs      []string `json:"ocsp_urls,omitempty" doc:"URLs of its OCSP responder in certificates."`
	CAIssuersURLs []string `json:"ca_issuers_urls,omitempty" doc:"URLs of its certificate in certificates (AIA caIssuers)."`
	EarlierURLs   []string `json:"earlier_urls,omitempty" doc:"URLs of its certificate and CRLs that live certificates name and the current settings do not. If the current settings of another issuer name one of them, it belongs to that issuer."`
}

// List is one CRL. Number, size and hash name one sequence of octets for ever.
type List struct {
	Kind       string   `json:"kind" doc:"complete, delta or shard."`
	Shard      string   `json:"shard" doc:"Which shard: COUNT-INDEX, such as 8-3; empty for the others."`
	Number     int64    `json:"number" doc:"Number of this edition, under which edge/crl serves it. It grows with each edition."`
	CRLNumber  string   `json:"crl_number,omitempty" doc:"CRL number (RFC 5280 section 5.2.3), decimal. Absent: the same as number."`
	BaseNumber int64    `json:"base_number,omitempty" doc:"Number of the complete CRL that is the base of a delta CRL."`
	ThisUpdate string   `json:"this_update" doc:"thisUpdate of the CRL, RFC 3339."`
	NextUpdate string   `json:"next_update" doc:"nextUpdate of the CRL, RFC 3339."`
	Size       int64    `json:"size" doc:"Length of the DER in bytes."`
	SHA256     string   `json:"sha256" doc:"Hash of the DER, hexadecimal."`
	URLs       []string `json:"urls" doc:"URLs of the CRL in certificates, including those of earlier settings."`
}

// OCSP is how the mount answers, which its edges follow.
type OCSP struct {
	Disabled      bool   `json:"disabled" doc:"The response to every request is unauthorized."`
	Expiry        int64  `json:"expiry_seconds" doc:"How long a response is valid; 0: no nextUpdate."`
	Backdate      int64  `json:"backdate_seconds" doc:"How far thisUpdate of a response lies in the past."`
	NeverIssued   string `json:"never_issued" doc:"Response for serial numbers that were never issued: unknown, revoked or unauthorized."`
	Nonce         bool   `json:"nonce" doc:"Whether nonces are repeated."`
	SHA1          bool   `json:"sha1" doc:"Whether requests may name the issuer by SHA-1."`
	ArchiveCutoff int64  `json:"archive_cutoff_seconds" doc:"archiveCutoff: how long responses cover expired certificates; 0: responses do not state it."`
}

// Document is one entry of the repository page.
type Document struct {
	Title string `json:"title" doc:"Title of the document."`
	URL   string `json:"url" doc:"URL of the document."`
}

// Publisher is publishers/:name: somewhere else to put lists and certificates. It
// names credentials and never holds one.
type Publisher struct {
	Name           string        `json:"name" doc:"Name of the publisher."`
	Version        int64         `json:"version" doc:"Version of the publisher, which increases with each change."`
	Type           string        `json:"type" doc:"http-put, ldap or file."`
	Issuers        []string      `json:"issuers" doc:"Ids of the issuers to publish for; empty: all."`
	Publish        []string      `json:"publish" doc:"Objects to publish: complete, delta, shards, certificate."`
	URL            string        `json:"url" doc:"URL of the target: http or https with templates, or ldap or ldaps."`
	Path           string        `json:"path" doc:"Type file: absolute path with templates."`
	LDAP           PublisherLDAP `json:"ldap" doc:"Type ldap: DN in the directory."`
	CACertificates []string      `json:"ca_certificates" doc:"Certificates in PEM that the server's certificate must chain to; empty: those of the edge's system."`
	Credential     string        `json:"credential" doc:"Name of a credential in the edge's own configuration; empty: none."`
}

// PublisherLDAP says where in a directory lists and certificates go.
type PublisherLDAP struct {
	BaseDN        string `json:"base_dn" doc:"DN of the entry, with templates."`
	StartTLS      bool   `json:"start_tls" doc:"Whether to use StartTLS with an ldap URL."`
	CRL           string `json:"crl" doc:"Attribute for complete CRLs."`
	DeltaCRL      string `json:"delta_crl" doc:"Attribute for delta CRLs."`
	CACertificate string `json:"ca_certificate" doc:"Attribute for CA certificates."`
}

// Status is edge/status/:issuer: one page of the status feed.
type Status struct {
	Epoch    string `json:"epoch" doc:"Pass it with the next call."`
	Sequence int64  `json:"sequence" doc:"Cursor. Pass it as since with the next call."`
	More     bool   `json:"more" doc:"Whether there are more changes already."`
	Reset    bool   `json:"reset" doc:"The cursor does not belong to this history. The rows start from the beginning. The edge drops its old rows when more is false."`
	Count    int    `json:"count" doc:"Number of rows in this response."`
	Rows     string `json:"rows" doc:"The rows, base64; see docs/design/status-feed.md."`
}

// Chunk is edge/crl/...: one piece of a CRL.
type Chunk struct {
	Data string `json:"data" doc:"Bytes of the CRL, base64, at most 480 KiB of them."`
	Last bool   `json:"last" doc:"Whether this is the last piece."`
}

// OCSPSigner is edge/ocsp-signer/:issuer: a delegated responder's certificate.
type OCSPSigner struct {
	Certificate  string `json:"certificate" doc:"The certificate in PEM."`
	IssuerID     string `json:"issuer_id" doc:"Id of the issuer that signed it."`
	SerialNumber string `json:"serial_number" doc:"Serial number."`
	NotAfter     string `json:"not_after" doc:"Expiry, RFC 3339."`
}

// Report is what an edge says about its publishing: POST publishers/:name/status.
type Report struct {
	Edge  string       `json:"edge" required:"true" max:"128" doc:"Name of the edge."`
	Items []ReportItem `json:"items" items:"400" doc:"Results of publishing."`
}

// ReportItem is one thing that was published, or not.
type ReportItem struct {
	Issuer string `json:"issuer" max:"64" doc:"Id of the issuer."`
	List   string `json:"list" max:"32" doc:"complete, delta, a shard such as 8-3, or certificate."`
	Number int64  `json:"number" doc:"CRL number; 0 for a certificate."`
	SHA256 string `json:"sha256" max:"64" doc:"Hash of the object as it was read back, hexadecimal."`
	At     string `json:"at" max:"40" doc:"When, RFC 3339."`
	Error  string `json:"error" max:"512" doc:"Error, or empty."`
}
