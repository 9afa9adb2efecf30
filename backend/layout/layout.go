// Package layout promises that every key of a mount's storage is named here: its
// prefix, the room that owns it, and which room a change to it wakes. Key names
// are stored in clear and so never carry an identity of a subscriber.
package layout

import "strings"

// The storage prefixes. A prefix that ends in "/" holds many entries and is a leaf
// for listing unless its row in Table says otherwise.
const (
	ConfigIssuers   = "config/issuers"
	ConfigKeys      = "config/keys"
	ConfigURLs      = "config/urls"
	ConfigCluster   = "config/cluster"
	ConfigCRL       = "config/crl"
	ConfigOCSP      = "config/ocsp"
	ConfigEdge      = "config/edge"
	ConfigKeyPool   = "config/keypool"
	ConfigAutoTidy  = "config/auto-tidy"
	Token           = "hsm/"              // hsm/<name>
	Key             = "key/"              // key/<id>
	Issuer          = "issuer/"           // issuer/<id>
	Profile         = "profile/"          // profile/<name>: the newest version's number
	ProfileVersion  = "profile-version/"  // profile-version/<name>/<n>
	Role            = "role/"             // role/<name>
	Page            = "page/"             // page/<hour>/<page>
	Segment         = "segment/"          // segment/<sequence>
	Dirty           = "dirty/"            // dirty/<serial>
	Fence           = "fence"             // written when a process starts
	Foreign         = "foreign/"          // foreign/<sha-256>
	CRLHead         = "crl-head/"         // crl-head/<list>: issuer, issuer.delta, issuer.8-3
	CRLBody         = "crl-body/"         // crl-body/<list>/<number>/<chunk>
	CRLPlaces       = "crl-places/"       // crl-places/<issuer>: URLs of shards that certificates name
	Place           = "place/"            // place/<hash of subject and key>: URLs that certificates of a CA name
	Responder       = "responder/"        // responder/<issuer>: delegated OCSP signer
	Publisher       = "publisher/"        // publisher/<name>
	PublisherStatus = "publisher-status/" // publisher-status/<name>: what edges report
	TidyHorizon     = "tidy/horizon"      // what was removed from the ledger
	TidyRun         = "tidy/run"          // how the last run ended
	BulkRun         = "revoke/bulk"       // the last bulk revocation, from its start
)

// Row describes one prefix.
type Row struct {
	Prefix string
	Owner  string // the room that alone reads and writes it
	Wakes  string // the room that rebuilds its snapshot when it changes, or ""
	Leaf   bool   // may be listed directly
}

// Table lists every prefix once. A test walks it.
var Table = []Row{
	{ConfigIssuers, "issuer", "catalog", false},
	{ConfigKeys, "keyring", "catalog", false},
	{ConfigURLs, "issuer", "catalog", false},
	{ConfigCluster, "issuer", "catalog", false},
	{ConfigCRL, "crl", "crl", false},
	{ConfigOCSP, "ocsp", "ocsp", false},
	{ConfigEdge, "publisher", "publisher", false},
	{ConfigKeyPool, "keypool", "keypool", false},
	{ConfigAutoTidy, "tidy", "tidy", false},
	{Token, "keyring", "catalog", true},
	{Key, "keyring", "catalog", true},
	{Issuer, "issuer", "catalog", true},
	{Profile, "catalog", "catalog", true},
	{ProfileVersion, "catalog", "catalog", false},
	{Role, "catalog", "catalog", true},
	{Page, "ledger", "ledger", false},
	{Segment, "ledger", "ledger", true},
	{Dirty, "ledger", "ledger", true},
	{Fence, "ledger", "", false},
	{Foreign, "ledger", "ledger", true},
	{CRLHead, "crl", "crl", true},
	{CRLBody, "crl", "", false},
	{CRLPlaces, "crl", "crl", true},
	{Place, "places", "places", true},
	{Responder, "ocsp", "ocsp", true},
	{Publisher, "publisher", "publisher", true},
	{PublisherStatus, "publisher", "publisher", true},
	{TidyHorizon, "ledger", "ledger", false},
	{TidyRun, "tidy", "tidy", false},
	{BulkRun, "revoke", "revoke", false},
}

// Find returns the row that covers a storage key, and whether there is one.
func Find(key string) (Row, bool) {
	var best Row
	found := false
	for _, row := range Table {
		covers := key == row.Prefix || strings.HasSuffix(row.Prefix, "/") && strings.HasPrefix(key, row.Prefix)
		if covers && len(row.Prefix) > len(best.Prefix) {
			best, found = row, true
		}
	}
	return best, found
}

// Secret lists the prefixes whose values hold key material or PINs: Vault seals
// them once more where its edition can.
func Secret() []string { return []string{Key, Token, Responder} }
