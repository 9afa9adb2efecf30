package role

import (
	"slices"
	"strings"

	"vault-plugin-secrets-enterprise-pki/backend/cert"
	"vault-plugin-secrets-enterprise-pki/backend/fault"
)

// Identity is who asks, as Vault vouches for it.
type Identity struct {
	EntityID string   // "" for root and orphan tokens
	Groups   []string // ids and names of the entity's groups
	// Expand renders an identity template such as
	// "{{identity.entity.metadata.app}}.example.com". Nil when there is no entity.
	// Roles hand it one placeholder at a time, so that its output stays data.
	Expand func(template string) (string, error)
}

// Authorize refuses callers outside allowed_entities and allowed_groups: when
// either is set, anyone not listed is Denied, root tokens included (authz-3).
func (r *Role) Authorize(who Identity) error {
	if len(r.config.AllowedEntities) == 0 && len(r.config.AllowedGroups) == 0 {
		return nil
	}
	if who.EntityID != "" {
		if slices.Contains(r.config.AllowedEntities, who.EntityID) {
			return nil
		}
		for _, group := range who.Groups {
			if slices.Contains(r.config.AllowedGroups, group) {
				return nil
			}
		}
	}
	return fault.New(fault.Denied, "role %s is for listed entities and groups only (allowed_entities, allowed_groups)", r.name)
}

func checkCallers(c *Config) error {
	for field, list := range map[string][]string{"allowed_entities": c.AllowedEntities, "allowed_groups": c.AllowedGroups} {
		for _, entry := range list {
			// An empty entry would match a caller without identity.
			if strings.TrimSpace(entry) == "" || entry == "*" {
				return fault.Field(field, "entries must be names or ids, not %q", entry)
			}
		}
	}
	return nil
}

// template is an identity template cut into text and placeholders.
type template struct {
	parts []part
}

type part struct {
	text        string
	placeholder bool
}

func isTemplate(text string) bool { return strings.Contains(text, "{{") }

func parseTemplate(field, text string) (template, error) {
	var t template
	for rest := text; rest != ""; {
		before, after, found := strings.Cut(rest, "{{")
		if before != "" {
			t.parts = append(t.parts, part{text: before})
		}
		if !found {
			break
		}
		inner, tail, closed := strings.Cut(after, "}}")
		if !closed || strings.TrimSpace(inner) == "" || strings.Contains(inner, "{{") {
			return t, fault.Field(field, "%q is not an identity template such as {{identity.entity.name}}.example.com", text)
		}
		t.parts = append(t.parts, part{text: "{{" + inner + "}}", placeholder: true})
		rest = tail
	}
	return t, nil
}

// render joins the text with what the placeholders yield. ok is false when there is
// no identity, a value is missing, or accept refuses one: such a template grants
// nothing (names-2).
func (t template) render(who Identity, accept func(value string) (string, bool)) (text string, ok bool) {
	if who.Expand == nil {
		return "", false
	}
	var out strings.Builder
	for _, p := range t.parts {
		if !p.placeholder {
			out.WriteString(p.text)
			continue
		}
		value, err := who.Expand(p.text)
		if err != nil {
			return "", false
		}
		if value, ok = accept(value); !ok {
			return "", false
		}
		out.WriteString(value)
	}
	return out.String(), true
}

// renderDomain renders an allowed domain. Values are whole labels; a template that
// is nothing but one placeholder may also yield a mailbox.
func (t template) renderDomain(who Identity) (string, bool) {
	text, ok := t.render(who, func(value string) (string, bool) {
		if len(t.parts) == 1 && strings.Contains(value, "@") {
			mailbox, err := cert.ParseEmail(value)
			return mailbox, err == nil && !strings.Contains(mailbox, "*")
		}
		normal, err := cert.NormaliseDNS(value)
		return normal, err == nil
	})
	return canonical(text), ok
}

// renderURI renders an allowed URI pattern. Values are unreserved characters
// (RFC 3986 section 2.3) and no dot segments, so they end no segment and match only
// themselves.
func (t template) renderURI(who Identity) (string, bool) {
	return t.render(who, func(value string) (string, bool) {
		return value, value != "" && strings.Trim(value, ".") != "" && !strings.ContainsFunc(value, reserved)
	})
}

func reserved(r rune) bool {
	return (r < 'a' || r > 'z') && (r < 'A' || r > 'Z') && (r < '0' || r > '9') && !strings.ContainsRune("-._~", r)
}
