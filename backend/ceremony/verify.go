package ceremony

import (
	"crypto/x509"
	"fmt"
	"strings"
	"time"

	"vault-plugin-secrets-enterprise-pki/backend/cert"
	"vault-plugin-secrets-enterprise-pki/backend/crl"
	"vault-plugin-secrets-enterprise-pki/backend/fault"
	"vault-plugin-secrets-enterprise-pki/backend/sign"
)

// Artefacts names the files of a root to be verified. Only Root is required.
type Artefacts struct {
	Root string
	// ExistingRoot says that other software made the root: whether it is one that the
	// preset root-ca makes is not judged.
	ExistingRoot  bool
	CRL           string
	PreviousCRL   string   // of which CRL must be the continuation
	Intermediates []string // CAs above issuing CAs, signed by the root
	CAs           []string // issuing CAs, signed by the root or by an intermediate
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
	for i, ca := range v.intermediates {
		v.ca(intermediatePreset, files.Intermediates[i], ca)
	}
	for i, ca := range v.cas {
		v.ca(issuingPreset, files.CAs[i], ca)
	}
	c.config.Report(Step{Name: "verified from the files", Facts: v.digests, Checks: v.checks})
	return v.verdict()
}

// verification is a run of checks.
type verification struct {
	files              Artefacts
	now                time.Time
	anchor             *x509.Certificate
	list, previous     *x509.RevocationList
	intermediates, cas []*x509.Certificate
	checks             []Check
	digests            []Fact
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
	if v.intermediates, err = v.certificates(files.Intermediates); err != nil {
		return nil, err
	}
	if v.cas, err = v.certificates(files.CAs); err != nil {
		return nil, err
	}
	return v, nil
}

func (v *verification) certificates(paths []string) ([]*x509.Certificate, error) {
	var read []*x509.Certificate
	for _, path := range paths {
		ca, err := readCertificate("ca", path)
		if err != nil {
			return nil, err
		}
		read = append(read, ca)
		v.digest(path, ca.Raw)
	}
	return read, nil
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
		failed = append(failed, check.File+": "+check.Name+" ("+check.Detail+")")
	}
	if len(failed) == 0 {
		return nil
	}
	return fault.New(kind, "%d of %d checks failed: %s", len(failed), len(v.checks), strings.Join(failed, ", "))
}

func (v *verification) root() {
	file, root := v.files.Root, v.anchor
	v.note(file, "signature", selfSigned(root), root.SignatureAlgorithm.String())
	if !v.files.ExistingRoot {
		v.note(file, "profile "+rootPreset, fits(rootPreset)(root, root), "")
		found, err := lints(rootPreset, root, root)
		v.note(file, "lints", err, found)
		v.note(file, "serial number", checkSerial(root), cert.SerialOf(root.SerialNumber).String())
		v.note(file, "key quality", cert.CheckKey(root.PublicKey), "")
	}
	v.note(file, "validity", current(root, v.now), "until "+root.NotAfter.UTC().Format(time.RFC3339))
}

func (v *verification) crl() {
	file, list := v.files.CRL, v.list
	v.note(file, "signature", crl.CheckSigned(list, v.anchor), list.SignatureAlgorithm.String())
	v.note(file, "scope", requireScope(list), "complete")
	number := "none"
	if list.Number != nil {
		number = list.Number.String()
	}
	v.note(file, "number", v.checkNumber(), number)
	v.note(file, "entries", v.checkEntries(), fmt.Sprint(len(list.RevokedCertificateEntries)))
	v.note(file, "freshness", fresh(list, v.now), "until "+list.NextUpdate.UTC().Format(time.RFC3339))
}

func (v *verification) ca(preset, file string, ca *x509.Certificate) {
	issuer := v.issuerOf(ca)
	v.note(file, "signature", signedBy(ca, issuer), ca.SignatureAlgorithm.String())
	v.note(file, "chain", v.checkChain(ca, issuer), "below "+issuer.Subject.String())
	v.note(file, "profile "+preset, fits(preset)(ca, issuer), "")
	found, err := lints(preset, ca, issuer)
	v.note(file, "lints", err, found)
	v.note(file, "serial number", checkSerial(ca), cert.SerialOf(ca.SerialNumber).String())
	v.note(file, "key quality", cert.CheckKey(ca.PublicKey), "")
	v.note(file, "validity", current(ca, v.now), "until "+ca.NotAfter.UTC().Format(time.RFC3339))
	if v.list != nil && issuer == v.anchor {
		v.note(file, "revocation", v.checkRevocation(ca), "not on "+v.files.CRL)
	}
}

// issuerOf returns the intermediate that signed the certificate, else the root.
func (v *verification) issuerOf(ca *x509.Certificate) *x509.Certificate {
	for _, above := range v.intermediates {
		if above != ca && signedBy(ca, above) == nil {
			return above
		}
	}
	return v.anchor
}

// checkChain asks the standard library and the rules that the engine signs by. Time
// is another check's matter.
func (v *verification) checkChain(ca, issuer *x509.Certificate) error {
	chain := []*x509.Certificate{issuer}
	if issuer != v.anchor {
		chain = append(chain, v.anchor)
	}
	if err := sign.WithinChain(chain)(ca, issuer); err != nil {
		return err
	}
	roots, between := x509.NewCertPool(), x509.NewCertPool()
	roots.AddCert(v.anchor)
	between.AddCert(issuer)
	_, err := ca.Verify(x509.VerifyOptions{
		Roots: roots, Intermediates: between, CurrentTime: ca.NotBefore, KeyUsages: []x509.ExtKeyUsage{x509.ExtKeyUsageAny},
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
		return fault.New(fault.Invalid, "must be there, not negative and of at most 20 bytes")
	case v.previous == nil || v.previous.Number == nil:
		return nil
	case number.Cmp(v.previous.Number) <= 0:
		return fault.New(fault.Conflict, "%s is not above the previous one, %s", number, v.previous.Number)
	}
	return nil
}

// checkEntries wants every serial number once, not the root's own, and all of the
// previous CRL as it was.
func (v *verification) checkEntries() error {
	listed := map[string]x509.RevocationListEntry{}
	for _, e := range v.list.RevokedCertificateEntries {
		serial := serialText(e.SerialNumber)
		if _, twice := listed[serial]; twice {
			return fault.New(fault.Invalid, "%s is listed twice", serial)
		}
		listed[serial] = e
	}
	if _, itself := listed[serialText(v.anchor.SerialNumber)]; itself {
		return fault.New(fault.Invalid, "the root lists itself")
	}
	if v.previous == nil {
		return nil
	}
	for _, old := range v.previous.RevokedCertificateEntries {
		serial := serialText(old.SerialNumber)
		kept, there := listed[serial]
		switch {
		case !there:
			return fault.New(fault.Conflict, "%s was on the previous CRL and is missing", serial)
		case kept.ReasonCode != old.ReasonCode || !kept.RevocationTime.Equal(old.RevocationTime):
			return fault.New(fault.Conflict, "%s was on the previous CRL with another date or reason", serial)
		}
	}
	return nil
}
