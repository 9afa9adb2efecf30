package role

import "strings"

// glob reports whether the text matches a pattern in which * stands for any
// characters, none included. It is linear in pattern times text at worst.
func glob(pattern, text string) bool {
	star, mark := -1, 0
	p, t := 0, 0
	for t < len(text) {
		switch {
		case p < len(pattern) && pattern[p] == '*':
			star, mark = p, t
			p++
		case p < len(pattern) && pattern[p] == text[t]:
			p++
			t++
		case star >= 0:
			mark++
			p, t = star+1, mark
		default:
			return false
		}
	}
	return strings.Trim(pattern[p:], "*") == ""
}

// globLabels matches label by label, so that * never crosses a dot and the pattern
// binds at both ends (names-5).
func globLabels(pattern, name string) bool {
	for {
		p, pRest, pMore := strings.Cut(pattern, ".")
		n, nRest, nMore := strings.Cut(name, ".")
		if n == "" || pMore != nMore || !glob(p, n) {
			return false
		}
		if !pMore {
			return true
		}
		pattern, name = pRest, nRest
	}
}

// globMailbox matches an address or user principal name: the part after the last @
// label by label, the part before it freely. Without an @ on both sides it is a
// plain glob.
func globMailbox(pattern, text string) bool {
	p, t := strings.LastIndexByte(pattern, '@'), strings.LastIndexByte(text, '@')
	if p < 0 || t < 0 {
		return p < 0 && glob(pattern, text)
	}
	return glob(pattern[:p], text[:t]) && globLabels(strings.ToLower(pattern[p+1:]), strings.ToLower(text[t+1:]))
}

// under reports whether a name lies below a domain, at a label boundary.
func under(name, domain string) bool {
	rest, ok := strings.CutSuffix(name, domain)
	return ok && domain != "" && len(rest) > 1 && rest[len(rest)-1] == '.'
}
