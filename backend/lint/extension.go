package lint

import (
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/asn1"
)

// extension returns a certificate's extension, nil when it has none of that kind.
func extension(c *x509.Certificate, oid asn1.ObjectIdentifier) *pkix.Extension {
	for i := range c.Extensions {
		if c.Extensions[i].Id.Equal(oid) {
			return &c.Extensions[i]
		}
	}
	return nil
}
