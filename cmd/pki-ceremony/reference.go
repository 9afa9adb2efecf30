package main

import (
	"fmt"
	"strings"

	"vault-plugin-secrets-enterprise-pki/backend/ceremony"
)

// orderKinds are the order files in the order in which help shows them.
var orderKinds = []struct {
	command, purpose string
	fields           []ceremony.FieldDoc
}{
	{"root create", "a root: its key, its certificate and its first CRL", ceremony.OrderFields[ceremony.RootOrder]()},
	{"ica sign", "the certificate of a CA below the root", ceremony.OrderFields[ceremony.IssuingOrder]()},
	{"crl sign", "the root's next CRL", ceremony.OrderFields[ceremony.CRLOrder]()},
}

// orderHelp returns the reference of the order file that a command takes, for --help.
func orderHelp(command string) string {
	var b strings.Builder
	for _, kind := range orderKinds {
		if kind.command != command {
			continue
		}
		fmt.Fprintf(&b, "Order file of %s (YAML), for %s:\n", kind.command, kind.purpose)
		for _, f := range kind.fields {
			required := ""
			if f.Required {
				required = ", required"
			}
			fmt.Fprintf(&b, "\n  %s (%s%s)\n      %s\n", f.Name, f.Type, required, f.Doc)
			if f.Example != "" {
				fmt.Fprintf(&b, "      Example: %s\n", f.Example)
			}
		}
	}
	return b.String()
}
