package ceremony

import (
	"crypto/x509"
	"encoding/hex"
	"fmt"
	"strings"
	"time"

	"vault-plugin-secrets-enterprise-pki/backend/cert"
	"vault-plugin-secrets-enterprise-pki/backend/fault"
	"vault-plugin-secrets-enterprise-pki/backend/sign"
)

// Artefacts names the files of a root to be verified. Only Root is required.
type Artefacts struct {
	Root        string
	CRL         string
	PreviousCRL string   // of which CRL must be the continuation
	CAs         []string // certificates signed by the root
}

// Check is one thing that was verified.
type Check struct {
	File   string `json:"file"`
	Name   string `json:"check"`
	Passed bool   `json:"passed"`
	Detail string `json:"detail,omitempty"` // why it failed, or what was seen
	kind   fault.Kind
}

// Verify reads the files and checks them: signatures, profiles, validity, the CRL's
// number and freshness. It needs no token. All checks are made and reported; the
// error has the kind of the first that failed.
func (c *Ceremony) Verify(files Artefacts) error {
	v, err := open(files, c.now())
	if err != nil {
		return err
	}
	v.root()
	if v.list != nil {
		v.crl()
	}
	for i, ca := range v.cas {
		v.ca(files.CAs[i], ca)
	}
	c.config.Report(Step{Name: "verified from the files", Facts: v.digests, Checks: v.checks})
	return v.verdict()
}

// verification is a run of checks.
type verification struct {
	files          Artefacts
	now            time.Time
	anchor         *x509.Certificate
	list, previous *x509.RevocationList
	cas            []*x509.Certificate
	checks         []Check
	digests        []Fact
}

func open(files Artefacts, now time.Time) (*verification, error) {
	v := &verification{files: files, now: now}
	var err error
	if v.anchor, err = readCertificate("root", files.Root); err != nil {
		return nil, err
	}
	v.digest(files.Root, v.anchor.Raw)
	if files.CRL != "" {
		if v.list, err = readCRL("crl", files.CRL); err != nil {
			return nil, err
		}
		v.digest(files.CRL, v.list.Raw)
	}
	if files.PreviousCRL != "" {
		if v.previous, err = readCRL("previous", files.PreviousCRL); err != nil {
			return nil, err
		}
	}
	for _, path := range files.CAs {
		ca, err := readCertificate("ca", path)
		if err != nil {
			return nil, err
		}
		v.cas = append(v.cas, ca)
		v.digest(path, ca.Raw)
	}
	return v, nil
}

func (v *verification) digest(path string, der []byte) {
	v.digests = append(v.digests, Fact{path + " SHA-256", sha256Hex(der)})
}

// note keeps the result of one check; seen says what a passed one saw.
func (v *verification) note(file, name string, err error, seen string) {
	check := Check{File: file, Name: name, Passed: err == nil, Detail: seen}
	if err != nil {
		check.Detail, check.kind = err.Error(), fault.KindOf(err)
	}
	v.checks = append(v.checks, check)
}

func (v *verification) verdict() error {
	var failed []string
	kind := fault.Internal
	for _, check := range v.checks {
		if check.Passed {
			continue
		}
		if len(failed) == 0 {
			kind = check.kind
		}
		failed = append(failed, check.File+": "+check.Name)
	}
	if len(failed) == 0 {
		return nil
	}
	return fault.New(kind, "%d of %d checks failed: %s", len(failed), len(v.checks), strings.Join(failed, ", "))
}

func (v *verification) root() {
	file, root := v.files.Root, v.anchor
	v.note(file, "signature", selfSigned(root), root.SignatureAlgorithm.String())
	v.note(file, "profile "+rootPreset, fits(rootPreset)(root, root), "")
	found, err := lints(rootPreset, root, root)
	v.note(file, "lints", err, found)
	v.note(file, "serial number", checkSerial(root), cert.SerialOf(root.SerialNumber).String())
	v.note(file, "key quality", cert.CheckKey(root.PublicKey), "")
	v.note(file, "validity", current(root, v.now), "until "+root.NotAfter.UTC().Format(time.RFC3339))
}

func (v *verification) crl() {
	file, list := v.files.CRL, v.list
	v.note(file, "signature", signedCRL(list, v.anchor), list.SignatureAlgorithm.String())
	v.note(file, "scope", requireScope(list), "CA certificates only")
	number := "none"
	if list.Number != nil {
		number = list.Number.String()
	}
	v.note(file, "number", v.checkNumber(), number)
	v.note(file, "entries", v.checkEntries(), fmt.Sprint(len(list.RevokedCertificateEntries)))
	v.note(file, "freshness", fresh(list, v.now), "until "+list.NextUpdate.UTC().Format(time.RFC3339))
}

func (v *verification) ca(file string, ca *x509.Certificate) {
	v.note(file, "signature", signedBy(ca, v.anchor), ca.SignatureAlgorithm.String())
	v.note(file, "chain", v.checkChain(ca), "")
	v.note(file, "profile "+issuingPreset, fits(issuingPreset)(ca, v.anchor), "")
	found, err := lints(issuingPreset, ca, v.anchor)
	v.note(file, "lints", err, found)
	v.note(file, "serial number", checkSerial(ca), cert.SerialOf(ca.SerialNumber).String())
	v.note(file, "key quality", cert.CheckKey(ca.PublicKey), "")
	v.note(file, "validity", current(ca, v.now), "until "+ca.NotAfter.UTC().Format(time.RFC3339))
	if v.list != nil {
		v.note(file, "revocation", v.checkRevocation(ca), "not on "+v.files.CRL)
	}
}

// checkChain asks the standard library and the rules that the engine signs by. Time
// is another check's matter.
func (v *verification) checkChain(ca *x509.Certificate) error {
	if err := sign.WithinChain([]*x509.Certificate{v.anchor})(ca, v.anchor); err != nil {
		return err
	}
	roots := x509.NewCertPool()
	roots.AddCert(v.anchor)
	_, err := ca.Verify(x509.VerifyOptions{
		Roots: roots, CurrentTime: ca.NotBefore, KeyUsages: []x509.ExtKeyUsage{x509.ExtKeyUsageAny},
	})
	if err != nil {
		return fault.New(fault.Invalid, "%w", err)
	}
	return nil
}

func (v *verification) checkRevocation(ca *x509.Certificate) error {
	for _, e := range v.list.RevokedCertificateEntries {
		if e.SerialNumber.Cmp(ca.SerialNumber) == 0 {
			return fault.New(fault.Conflict, "revoked since %s, %s", e.RevocationTime.UTC().Format(time.RFC3339), cert.Reason(e.ReasonCode))
		}
	}
	return nil
}

// checkNumber wants a number of at most 20 octets (RFC 5280 section 5.2.3), above
// that of the previous CRL.
func (v *verification) checkNumber() error {
	number := v.list.Number
	switch {
	case number == nil || number.Sign() < 0 || number.BitLen() > 8*20-1:
		return fault.New(fault.Invalid, "must be there, not negative and of at most 20 octets")
	case v.previous == nil:
		return nil
	case v.previous.Number == nil || number.Cmp(v.previous.Number) <= 0:
		return fault.New(fault.Conflict, "%s is not above the previous one, %s", number, v.previous.Number)
	}
	return nil
}

// checkEntries wants every serial number once, not the root's own, and all of the
// previous CRL.
func (v *verification) checkEntries() error {
	listed := map[cert.Serial]bool{}
	for _, e := range v.list.RevokedCertificateEntries {
		serial := cert.SerialOf(e.SerialNumber)
		if listed[serial] {
			return fault.New(fault.Invalid, "%s is listed twice", serial)
		}
		listed[serial] = true
	}
	if listed[cert.SerialOf(v.anchor.SerialNumber)] {
		return fault.New(fault.Invalid, "the root lists itself")
	}
	if v.previous == nil {
		return nil
	}
	for _, e := range v.previous.RevokedCertificateEntries {
		if serial := cert.SerialOf(e.SerialNumber); !listed[serial] {
			return fault.New(fault.Conflict, "%s was on the previous CRL and is missing", serial)
		}
	}
	return nil
}

// selfSigned refuses what is not a self-signed CA certificate.
func selfSigned(root *x509.Certificate) error {
	if string(root.RawIssuer) != string(root.RawSubject) {
		return fault.New(fault.Invalid, "is not self-issued")
	}
	if !root.IsCA || !root.BasicConstraintsValid {
		return fault.New(fault.Invalid, "is not a CA certificate")
	}
	return signedBy(root, root)
}

func signedBy(certificate, issuer *x509.Certificate) error {
	if string(certificate.RawIssuer) != string(issuer.RawSubject) {
		return fault.New(fault.Invalid, "names another issuer")
	}
	if err := certificate.CheckSignatureFrom(issuer); err != nil {
		return fault.New(fault.Invalid, "the signature does not verify: %w", err)
	}
	return nil
}

func current(certificate *x509.Certificate, now time.Time) error {
	switch {
	case now.Before(certificate.NotBefore):
		return fault.New(fault.Conflict, "is not valid before %s", certificate.NotBefore.UTC().Format(time.RFC3339))
	case now.After(certificate.NotAfter):
		return fault.New(fault.Conflict, "expired at %s", certificate.NotAfter.UTC().Format(time.RFC3339))
	}
	return nil
}

// checkSerial wants at least 64 bits of length (Baseline Requirements section 7.1)
// and at most 20 octets.
func checkSerial(certificate *x509.Certificate) error {
	n := certificate.SerialNumber
	if n.Sign() <= 0 || n.BitLen() < 56 || n.BitLen() > 8*cert.MaxSerialOctets-1 {
		return fault.New(fault.Invalid, "must be positive, of at least 64 random bits and at most 20 octets")
	}
	return nil
}

// signedCRL refuses a CRL that the root's key did not sign in the root's name.
func signedCRL(list *x509.RevocationList, root *x509.Certificate) error {
	switch {
	case string(list.RawIssuer) != string(root.RawSubject):
		return fault.New(fault.Invalid, "names another issuer")
	case hex.EncodeToString(list.AuthorityKeyId) != hex.EncodeToString(root.SubjectKeyId):
		return fault.New(fault.Invalid, "names another key of the issuer (authorityKeyIdentifier)")
	}
	if err := list.CheckSignatureFrom(root); err != nil {
		return fault.New(fault.Invalid, "the signature does not verify: %w", err)
	}
	return nil
}

func fresh(list *x509.RevocationList, now time.Time) error {
	switch {
	case now.Before(list.ThisUpdate):
		return fault.New(fault.Conflict, "was issued at %s, which is in the future", list.ThisUpdate.UTC().Format(time.RFC3339))
	case !now.Before(list.NextUpdate):
		return fault.New(fault.Conflict, "a newer one was due at %s", list.NextUpdate.UTC().Format(time.RFC3339))
	}
	return nil
}

// onlyCACerts is IssuingDistributionPoint with onlyContainsCACerts alone (RFC 5280
// section 5.2.5).
const onlyCACerts = "\x30\x03\x82\x01\xff"

// requireScope wants a CRL that says that it covers CA certificates.
func requireScope(list *x509.RevocationList) error {
	for _, extension := range list.Extensions {
		if extension.Id.String() == oidScope && extension.Critical && string(extension.Value) == onlyCACerts {
			return checkScope(list)
		}
	}
	return fault.New(fault.Invalid, "must say onlyContainsCACerts in a critical issuingDistributionPoint")
}

const oidScope = "2.5.29.28"

// crlExtensions are those that a root's CRL may have; others could change what its
// entries mean (delta CRLs, indirect CRLs).
var crlExtensions = map[string]string{oidScope: onlyCACerts, "2.5.29.20": "", "2.5.29.35": ""}

// checkScope refuses CRLs of other kinds. One without a scope is a full CRL.
func checkScope(list *x509.RevocationList) error {
	for _, extension := range list.Extensions {
		wanted, known := crlExtensions[extension.Id.String()]
		if !known || wanted != "" && string(extension.Value) != wanted {
			return fault.New(fault.Invalid, "extension %s: must be a full CRL of CA certificates", extension.Id)
		}
	}
	return nil
}
