package lint

import (
	"crypto/x509"
	"net"
	"strings"
)

// uriHost stands for zlint's e_ext_san_uri_host_not_fqdn_or_ip, which also refuses
// SPIFFE trust domains: names of their own kind that need no dot (SPIFFE ID 2.1).
var uriHost = rule{
	Rule: Rule{
		Name: "e_san_uri_host_not_fqdn_or_ip", Set: "rfc5280", Severity: Error, Citation: "RFC 5280: 4.2.1.6",
		Description: "A URI with an authority must have a fully qualified domain name or an IP address as its host; SPIFFE IDs excepted.",
	},
	check: func(drafted, _ *x509.Certificate) string {
		for _, uri := range drafted.URIs {
			host := uri.Hostname()
			if host != "" && uri.Scheme != "spiffe" && !strings.Contains(host, ".") && net.ParseIP(host) == nil {
				return "the host of " + uri.String() + " is neither a fully qualified domain name nor an IP address"
			}
		}
		return ""
	},
}
