package main

import (
	"encoding/json"
	"fmt"
	"io"
	"strings"
	"text/tabwriter"

	"vault-plugin-secrets-enterprise-pki/backend/ceremony"
	"vault-plugin-secrets-enterprise-pki/backend/fault"
)

// reporter returns what writes steps in the form that --output names.
func (a *app) reporter() (func(ceremony.Step), error) {
	switch a.flags.output {
	case "text":
		return func(step ceremony.Step) { writeText(a.around.Out, step) }, nil
	case "json":
		encoder := json.NewEncoder(a.around.Out)
		encoder.SetEscapeHTML(false)
		return func(step ceremony.Step) { _ = encoder.Encode(step) }, nil
	}
	return nil, fault.Field("--output", "must be text or json, not %q", a.flags.output)
}

// writeText writes a step as a heading, its facts below each other, and its checks
// as a table.
func writeText(out io.Writer, step ceremony.Step) {
	fmt.Fprintf(out, "* %s\n", step.Name)
	facts := tabwriter.NewWriter(out, 0, 8, 2, ' ', 0)
	for _, fact := range step.Facts {
		fmt.Fprintf(facts, "    %s:\t%s\n", fact.Name, printable(fact.Value))
	}
	_ = facts.Flush()
	checks := tabwriter.NewWriter(out, 0, 8, 2, ' ', 0)
	for _, check := range step.Checks {
		result := "ok"
		if !check.Passed {
			result = "FAILED"
		}
		fmt.Fprintf(checks, "    %s\t%s\t%s\t%s\n", result, check.File, check.Name, printable(check.Detail))
	}
	_ = checks.Flush()
}

// printable keeps a value from a file that others wrote on its line, and away from
// the terminal's control sequences.
func printable(text string) string {
	return strings.Map(func(r rune) rune {
		if r < ' ' || r >= 0x7f && r < 0xa0 || r == 0x2028 || r == 0x2029 || r >= 0x202a && r <= 0x202e || r >= 0x2066 && r <= 0x2069 {
			return '?'
		}
		return r
	}, text)
}
