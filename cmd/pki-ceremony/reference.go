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

// ordersPage returns docs/reference/ceremony-orders.md.
func ordersPage() string {
	var b strings.Builder
	b.WriteString(`# Order files of pki-ceremony

Written by ` + "`scripts/docs`" + ` from the program. ` + "`pki-ceremony COMMAND --help`" + ` shows the same text. How to use it:
[Make a root on an isolated machine](../how-to/offline-root.md).

An order file is one YAML document. A key that the program does not know ends it.
`)
	for _, kind := range orderKinds {
		fmt.Fprintf(&b, "\n## pki-ceremony %s\n\nAn order for %s.\n\n| key | type | required | meaning | example |\n|---|---|---|---|---|\n", kind.command, kind.purpose)
		for _, f := range kind.fields {
			required, example := "", ""
			if f.Required {
				required = "yes"
			}
			if f.Example != "" {
				example = "`" + f.Example + "`"
			}
			fmt.Fprintf(&b, "| `%s` | %s | %s | %s | %s |\n", f.Name, f.Type, required, f.Doc, example)
		}
	}
	return b.String()
}
