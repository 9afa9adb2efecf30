package main

import (
	"fmt"
	"strings"
)

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
