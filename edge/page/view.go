package page

import (
	"bytes"
	"crypto/x509"
	"encoding/hex"
	"net/url"
	"regexp"
	"slices"
	"strings"
	"time"

	"vault-plugin-secrets-enterprise-pki/backend/cert"
)

// view is what the template shows: words, and paths that are safe in a shell.
type view struct {
	Organization string
	Base         string
	Now          moment
	Sync         status
	Issuers      []authority
	Documents    []Document
	OCSP         []string // for whom
	Example      *example // nil while there is nothing to check
}

// status is one statement with its rank: "good", "warn" or "bad".
type status struct{ Rank, Word, Text string }

// moment is a time for people and for programs.
type moment struct{ Text, Machine string }

type authority struct {
	Anchor, Title    string
	Role             string // what kind of CA
	Files            string // path of its certificate without extension
	Facts            []fact
	Fingerprint      []string // in groups, so that a narrow screen can break it
	From, Until      moment
	Validity         status
	Complete, Shards []list // Shards stand apart: there may be 128
}

// fact is one line about a certificate; octets are shown in fixed width.
type fact struct{ Name, Text, Octets string }

type list struct {
	Name, Path   string
	Number       string
	Issued, Next moment
	Size         string
	State        status
}

// table is a caption and the lists below it.
type table struct {
	Title, Suffix string
	Lists         []list
}

// example is what the commands on the page are about: paths of a root and of the CA
// that serves most readers, without extension, and of that CA's list, "" for none.
type example struct {
	Root, Issuing string
	RootPrint     string
	List          string
	// Chain are the paths of the complete lists of that CA and of all above it; none when
	// one of them has none.
	Chain []string
	OCSP  bool
}

var (
	// plainHost is what a Host header may be to appear in a command: a name or an
	// address, with a port.
	plainHost = regexp.MustCompile(`^([A-Za-z0-9]([A-Za-z0-9.-]*[A-Za-z0-9])?|\[[0-9A-Fa-f:.]+\])(:[0-9]{1,5})?$`)
	// plainURL is the same for the configured base URL, which may have a path.
	plainURL = regexp.MustCompile(`^https?://[A-Za-z0-9.\-\[\]:]+(/[A-Za-z0-9._~/-]*)?$`)
	// plainName is an issuer's name that stands for itself in a path and in a shell.
	plainName = regexp.MustCompile(`^[A-Za-z0-9][A-Za-z0-9._-]{0,127}$`)
)

// baseURL returns what stands before the paths in commands. A Host header is what the
// client sent: only a plain one is repeated to it.
func baseURL(configured, host string) string {
	configured = strings.TrimRight(configured, "/")
	switch {
	case plainURL.MatchString(configured):
		return configured
	case plainHost.MatchString(host):
		return "http://" + host
	}
	return "http://pki.example.com"
}

func viewOf(repository Repository, base string) view {
	v := view{
		Organization: repository.Organization,
		Base:         base,
		Now:          momentOf(repository.Now),
		Sync:         syncStatus(repository),
	}
	issuers := ordered(repository.Issuers)
	for _, issuer := range issuers {
		a := authorityOf(issuer, fileName(issuer, repository.Issuers), repository.Now)
		v.Issuers = append(v.Issuers, a)
		if issuer.OCSP {
			v.OCSP = append(v.OCSP, a.Title)
		}
	}
	for _, d := range repository.Documents {
		v.Documents = append(v.Documents, Document{Title: d.Title, URL: webURL(d.URL)})
	}
	v.Example = exampleOf(issuers, v.Issuers, repository.Now)
	return v
}

// webURL returns the address if a browser may follow it, else "".
func webURL(address string) string {
	parsed, err := url.Parse(address)
	if err != nil || parsed.Host == "" || parsed.Scheme != "http" && parsed.Scheme != "https" {
		return ""
	}
	return parsed.String()
}

// ordered puts every CA right below the one that issued it, each level by name.
func ordered(issuers []Issuer) []Issuer {
	sorted := slices.Clone(issuers)
	slices.SortStableFunc(sorted, func(a, b Issuer) int { return strings.Compare(a.Name, b.Name) })
	var found []Issuer
	var descend func(at int)
	taken := make([]bool, len(sorted))
	descend = func(at int) {
		if taken[at] {
			return
		}
		taken[at] = true
		found = append(found, sorted[at])
		for below := range sorted {
			if parentOf(sorted, sorted[below]) == at {
				descend(below)
			}
		}
	}
	for _, top := range []bool{true, false} { // roots, then CAs above which nobody is known
		for at := range sorted {
			if selfIssued(sorted[at].Certificate) == top && parentOf(sorted, sorted[at]) < 0 {
				descend(at)
			}
		}
	}
	for at := range sorted { // CAs that signed each other
		descend(at)
	}
	return found
}

// parentOf returns the index of the CA that issued a CA's certificate, -1 for a root and
// when it is not known.
func parentOf(issuers []Issuer, issuer Issuer) int {
	if selfIssued(issuer.Certificate) {
		return -1
	}
	return slices.IndexFunc(issuers, func(i Issuer) bool {
		return i.ID != issuer.ID && bytes.Equal(i.Certificate.RawSubject, issuer.Certificate.RawIssuer) && issuer.Certificate.CheckSignatureFrom(i.Certificate) == nil
	})
}

func selfIssued(c *x509.Certificate) bool { return bytes.Equal(c.RawSubject, c.RawIssuer) }

// fileName returns by what an issuer's files are called: its name, unless that
// cannot be typed as it is, is taken by other files or by another issuer.
func fileName(issuer Issuer, all []Issuer) string {
	same := 0
	for _, other := range all {
		if other.Name == issuer.Name || other.ID == issuer.Name {
			same++
		}
	}
	if same == 1 && plainName.MatchString(issuer.Name) && issuer.Name != "bundle" && !strings.HasSuffix(issuer.Name, "-delta") {
		return issuer.Name
	}
	return issuer.ID
}

func authorityOf(issuer Issuer, file string, now time.Time) authority {
	c := issuer.Certificate
	a := authority{
		Anchor: "ca-" + issuer.ID,
		Title:  titleOf(issuer),
		Role:   "Subordinate CA",
		Files:  "/ca/" + url.PathEscape(file),
		Facts: []fact{
			{Name: "Subject", Text: c.Subject.String()},
			{Name: "Issued by", Text: c.Issuer.String()},
			{Name: "Serial number", Octets: hexPairs(c.SerialNumber.Bytes())},
			{Name: "Public key", Text: keyWords(c)},
			{Name: "Signed with", Text: c.SignatureAlgorithm.String()},
			{Name: "Key identifier", Octets: hexPairs(c.SubjectKeyId)},
		},
		Fingerprint: groups(cert.FingerprintOf(c.Raw).String()),
		From:        momentOf(c.NotBefore),
		Until:       momentOf(c.NotAfter),
		Validity:    validity(c, now),
	}
	if selfIssued(c) {
		a.Role = "Root CA"
		a.Facts[1].Text = "itself (a self-signed root)"
	}
	for _, l := range issuer.Lists {
		shown := listOf(l, file, now)
		if l.Kind == "shard" {
			a.Shards = append(a.Shards, shown)
		} else {
			a.Complete = append(a.Complete, shown)
		}
	}
	return a
}

// titleOf is what people call a CA: the common name of its certificate.
func titleOf(issuer Issuer) string {
	for _, name := range []string{issuer.Certificate.Subject.CommonName, issuer.Name} {
		if strings.TrimSpace(name) != "" {
			return name
		}
	}
	return issuer.ID
}

func listOf(l List, file string, now time.Time) list {
	file = url.PathEscape(file)
	shown := list{
		Name:   "Complete list",
		Path:   "/crl/" + file + ".crl",
		Number: l.Number,
		Issued: momentOf(l.ThisUpdate),
		Next:   momentOf(l.NextUpdate),
		Size:   sizeWords(l.Size),
		State:  status{"good", "current", "next list due in " + span(l.NextUpdate.Sub(now))},
	}
	switch l.Kind {
	case "delta":
		shown.Name, shown.Path = "Changes (delta)", "/crl/"+file+"-delta.crl"
	case "shard":
		shown.Name, shown.Path = "Part "+l.Shard, "/crl/"+file+"/"+url.PathEscape(l.Shard)+".crl"
	}
	if !l.NextUpdate.After(now) {
		shown.State = status{"bad", "overdue", "ended " + span(now.Sub(l.NextUpdate)) + " ago"}
	}
	return shown
}

// exampleOf picks a CA whose key is at work, one below a root before a root, and the root
// of its chain: only that is shown with the commands to trust it. Without the root, nobody
// is told what to trust.
func exampleOf(issuers []Issuer, shown []authority, now time.Time) *example {
	works := func(i Issuer) bool { return i.Signs && now.Before(i.Certificate.NotAfter) }
	at := slices.IndexFunc(issuers, func(i Issuer) bool { return works(i) && !selfIssued(i.Certificate) })
	if at < 0 {
		at = slices.IndexFunc(issuers, works)
	}
	if at < 0 {
		return nil
	}
	chain := []int{at}
	for above := parentOf(issuers, issuers[at]); above >= 0 && len(chain) <= len(issuers); above = parentOf(issuers, issuers[above]) {
		chain = append(chain, above)
	}
	e := &example{Issuing: shown[at].Files, OCSP: issuers[at].OCSP}
	for _, member := range chain {
		if len(shown[member].Complete) == 0 || strings.HasSuffix(shown[member].Complete[0].Path, "-delta.crl") {
			e.Chain = nil
			break
		}
		e.Chain = append(e.Chain, shown[member].Complete[0].Path)
	}
	if len(shown[at].Complete) > 0 {
		e.List = shown[at].Complete[0].Path
	}
	if root := chain[len(chain)-1]; selfIssued(issuers[root].Certificate) {
		e.Root, e.RootPrint = shown[root].Files, strings.Join(shown[root].Fingerprint, "")
	} else {
		e.Chain = nil
	}
	return e
}

func hexPairs(octets []byte) string {
	var text strings.Builder
	for i, octet := range octets {
		if i > 0 {
			text.WriteByte(':')
		}
		text.WriteString(strings.ToUpper(hex.EncodeToString([]byte{octet})))
	}
	return text.String()
}

// groups cuts a fingerprint into pieces of four octets; joined they are the whole.
func groups(fingerprint string) []string {
	var pieces []string
	for text := strings.ToUpper(fingerprint); text != ""; {
		end := min(12, len(text))
		pieces = append(pieces, text[:end])
		text = text[end:]
	}
	return pieces
}
