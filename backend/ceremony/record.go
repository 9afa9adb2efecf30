package ceremony

import (
	"bytes"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"strings"
	"time"

	"vault-plugin-secrets-enterprise-pki/backend/cert"
	"vault-plugin-secrets-enterprise-pki/backend/fault"
)

// The events and kinds of a Record.
const (
	eventIntent = "intent" // about to be signed
	eventSigned = "signed" // signed, written, read back

	kindCertificate = "certificate"
	kindCRL         = "crl"
)

// entry is one line of a record.
type entry struct {
	Time   time.Time `json:"time"`
	Event  string    `json:"event"`
	Kind   string    `json:"kind"`
	Issuer string    `json:"issuer_key_sha256"` // of the SubjectPublicKeyInfo
	// Serial and Subject describe a certificate, Number and Entries a CRL.
	Serial  string         `json:"serial,omitempty"`
	Subject string         `json:"subject,omitempty"`
	Number  cert.CRLNumber `json:"number,omitzero"`
	Entries int            `json:"entries,omitempty"`
	// TBS is the SHA-256 digest of the tbsCertificate, SHA256 of the whole DER.
	TBS    string `json:"tbs_sha256,omitempty"`
	SHA256 string `json:"sha256,omitempty"`
}

// same reports whether two lines speak about the same signature.
func (e entry) same(other entry) bool {
	return e.Kind == other.Kind && e.Serial == other.Serial && e.Number == other.Number
}

// record is the list of what one root's key signed: JSON lines in a file that only
// grows. A line with the intent is on disk before each signature, so that "signed
// but unrecorded" cannot happen. The record is not protected against an editor:
// that is what the transcript of a full ceremony adds.
type record struct {
	path    string
	issuer  string
	entries []entry
}

// newRecord begins the record of a root that is made now, in a reserved output.
func newRecord(path string, issuer cert.Fingerprint) *record {
	return &record{path: path, issuer: issuer.Hex()}
}

// openRecord reads the record of an existing root. It must exist: a misspelled name
// must not begin a second one. An empty file begins the record of a root that was
// made elsewhere.
func openRecord(path string, issuer cert.Fingerprint) (*record, error) {
	const field = "outputs.record"
	raw, err := ReadFile(field, path)
	if err != nil {
		return nil, err
	}
	r := &record{path: path, issuer: issuer.Hex()}
	for number, line := range strings.Split(strings.TrimSuffix(string(raw), "\n"), "\n") {
		if len(raw) == 0 {
			break
		}
		var e entry
		decoder := json.NewDecoder(strings.NewReader(line))
		decoder.DisallowUnknownFields()
		if err := decoder.Decode(&e); err != nil {
			return nil, fault.Field(field, "line %d of %s is damaged: %w", number+1, path, err)
		}
		if e.Issuer != r.issuer {
			return nil, fault.FieldOf(fault.Conflict, field, "line %d of %s was written for another root's key", number+1, path)
		}
		r.entries = append(r.entries, e)
	}
	return r, nil
}

// append writes one line; it is durable when append returns.
func (r *record) append(e entry) error {
	e.Issuer = r.issuer
	var line bytes.Buffer
	encoder := json.NewEncoder(&line)
	encoder.SetEscapeHTML(false)
	if err := encoder.Encode(e); err != nil {
		return fmt.Errorf("encoding record: %w", err)
	}
	file, err := os.OpenFile(r.path, os.O_WRONLY|os.O_APPEND, 0)
	if err == nil {
		_, err = file.Write(line.Bytes())
		err = errors.Join(err, file.Sync(), file.Close())
	}
	if err != nil {
		return fault.FieldOf(fault.Unavailable, "outputs.record", "writing %s: %w", r.path, err)
	}
	r.entries = append(r.entries, e)
	return nil
}

// unfinished returns the intents that no signed line answers: an earlier ceremony
// was cut short between the two, and the signature may or may not exist.
func (r *record) unfinished() []entry {
	var open []entry
	for i, intent := range r.entries {
		if intent.Event != eventIntent {
			continue
		}
		answered := false
		for _, later := range r.entries[i+1:] {
			answered = answered || later.Event == eventSigned && later.same(intent)
		}
		if !answered {
			open = append(open, intent)
		}
	}
	return open
}

// highestNumber returns the highest CRL number that was signed or intended, 0 for
// none. An intended one counts: its CRL may exist.
func (r *record) highestNumber() cert.CRLNumber {
	var highest cert.CRLNumber
	for _, e := range r.entries {
		if e.Kind == kindCRL {
			highest = highest.Max(e.Number)
		}
	}
	return highest
}

// issued reports whether the root's key signed, or meant to sign, a certificate with
// this serial number according to the record.
func (r *record) issued(serial cert.Serial) bool {
	for _, e := range r.entries {
		if e.Kind == kindCertificate && e.Serial == serial.String() {
			return true
		}
	}
	return false
}

// showRecord reports what the record says so far.
func (c *Ceremony) showRecord(r *record) {
	facts := []Fact{{"file", r.path}, {"lines", fmt.Sprint(len(r.entries))}}
	for _, e := range r.unfinished() {
		what := "certificate " + e.Serial
		if e.Kind == kindCRL {
			what = fmt.Sprintf("CRL number %s", e.Number)
		}
		facts = append(facts, Fact{"WARNING", fmt.Sprintf("%s was about to be signed at %s and nothing says that it was", what, e.Time.Format(time.RFC3339))})
	}
	c.report("record read", facts...)
}

func sha256Hex(octets []byte) string {
	digest := cert.FingerprintOf(octets)
	return hex.EncodeToString(digest[:])
}
