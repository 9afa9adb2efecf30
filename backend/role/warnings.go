package role

import (
	"fmt"
	"strings"
)

// Warnings lists what the operator has written and what grants nothing as the role
// stands: it is no error, and rarely what was meant.
func (c *Config) Warnings() []string {
	var warnings []string
	if c.NoStore && c.GenerateLease {
		warnings = append(warnings, "generate_lease has no effect with no_store: what is not stored is not leased.")
	}
	if c.AllowAnyName {
		return warnings
	}
	if len(c.AllowedDomains) > 0 && !c.AllowBareDomains && !c.AllowSubdomains && !c.AllowGlobDomains {
		warnings = append(warnings, "allowed_domains grants no name: set allow_subdomains, allow_bare_domains or allow_glob_domains.")
	}
	for _, domain := range c.AllowedDomains {
		if c.AllowGlobDomains || !strings.Contains(domain, "*") || c.AllowedDomainsTemplate && isTemplate(domain) {
			continue
		}
		warning := fmt.Sprintf("allowed_domains: without allow_glob_domains, the * in %q stands for no other characters.", domain)
		if parent, found := strings.CutPrefix(strings.TrimSpace(domain), "*."); found && !strings.Contains(parent, "*") {
			warning += fmt.Sprintf(" For the names below %s, write %s and set allow_subdomains.", parent, parent)
		}
		warnings = append(warnings, warning)
	}
	return warnings
}
