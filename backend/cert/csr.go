package cert

import "crypto/x509"

// Caps on input, checked before anything is decoded (security.md dos-1).
const (
	MaxCSR    = 64 << 10 // octets of a CSR, PEM or DER
	MaxBundle = 1 << 20  // octets of a PEM bundle
	MaxSANs   = 1000     // names in one request
)

// Request is a CSR that has been read, whose signature proves possession of the
// key, whose key passed CheckKey, and that asks for no CA rights.
type Request struct {
	*x509.CertificateRequest
	Names Names
	// Unknown lists the OIDs of requested extensions other than subjectAltName,
	// keyUsage, extKeyUsage and basicConstraints.
	Unknown []string
}

// ParseCSR reads a PEM or DER PKCS#10 request. It refuses, in this order: more than
// MaxCSR octets, more than MaxSANs names, duplicate or ill-formed extensions,
// trailing data, a weak or unknown key, a signature that does not verify.
// A request for CA:TRUE is refused with ca-1's rule unless parsed by ParseCACSR.
func ParseCSR(raw []byte) (*Request, error) { panic("not written") }

// ParseCACSR is ParseCSR for a request that may ask to become a CA.
func ParseCACSR(raw []byte) (*Request, error) { panic("not written") }

// ParseCertificates reads one or more PEM certificates (or one DER), capped at
// MaxBundle octets. PEM blocks of other types are returned by type in others.
func ParseCertificates(raw []byte) (certs []*x509.Certificate, others []string, err error) {
	panic("not written")
}

// CertificatePEM returns the PEM form without a trailing newline, as the built-in
// engine answers it.
func CertificatePEM(der []byte) string { panic("not written") }

// CSRPEM returns the PEM form of a request without a trailing newline.
func CSRPEM(der []byte) string { panic("not written") }
