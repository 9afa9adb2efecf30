package cert

import (
	"strings"
	"unicode"
	"unicode/utf8"

	"golang.org/x/text/unicode/norm"
)

// Unseen reports whether a character shows nothing, or changes how others are shown:
// names that look alike must be alike (UTS 36 section 3). The joiners are letters'
// business in several scripts.
func Unseen(r rune) bool {
	const nonJoiner, joiner = '\u200c', '\u200d'
	return r == unicode.ReplacementChar || r != nonJoiner && r != joiner && unicode.In(r, unicode.Cc, unicode.Cf, unicode.Zl, unicode.Zp)
}

// maxEscapes is how often a text is unescaped: some readers do it more than once.
const maxEscapes = 4

// ComparisonForm returns the one form in which free text is searched for a DNS name: as
// the most generous reader would see it, with percent-encoding undone, compatibility
// characters such as fullwidth letters mapped (NFKC), lower case, without unseen
// characters, with full stops of all scripts as ".", and labels as A-labels. It is for
// comparisons that refuse, and nothing else: what it returns is never certified.
func ComparisonForm(text string) string {
	for range maxEscapes {
		plain := unescape(text)
		if plain == text {
			break
		}
		text = plain
	}
	text = strings.Map(func(r rune) rune {
		switch {
		case strings.ContainsRune("\u3002\uff0e\uff61", r): // UTS 46 section 4
			return '.'
		case unicode.Is(unicode.Cf, r):
			return -1
		}
		return unicode.ToLower(r)
	}, norm.NFKC.String(text))
	var form strings.Builder
	for text != "" {
		end := strings.IndexFunc(text, func(r rune) bool { return !inName(r) })
		switch {
		case end < 0:
			end = len(text)
		case end == 0:
			_, size := utf8.DecodeRuneInString(text)
			form.WriteString(text[:size])
			text = text[size:]
			continue
		}
		form.WriteString(asciiName(text[:end]))
		text = text[end:]
	}
	return form.String()
}

// inName reports whether a character can be part of an internationalised name.
func inName(r rune) bool {
	return r == '.' || r == '-' || r == '_' || unicode.In(r, unicode.Letter, unicode.Mark, unicode.Number)
}

// asciiName returns a run of labels with A-labels where IDNA has them.
func asciiName(name string) string {
	labels := strings.Split(name, ".")
	for i, label := range labels {
		if !isPlainASCII(label) {
			if ascii, err := lookup.ToASCII(label); err == nil {
				labels[i] = ascii
			}
		}
	}
	return strings.Join(labels, ".")
}

// unescape undoes percent-encoding wherever it is well-formed (RFC 3986 section 2.1).
func unescape(text string) string {
	if !strings.Contains(text, "%") {
		return text
	}
	var plain strings.Builder
	for i := 0; i < len(text); i++ {
		if text[i] == '%' && i+2 < len(text) {
			high, low := hexDigit(text[i+1]), hexDigit(text[i+2])
			if high >= 0 && low >= 0 {
				plain.WriteByte(byte(high<<4 | low))
				i += 2
				continue
			}
		}
		plain.WriteByte(text[i])
	}
	return plain.String()
}

// hexDigit returns the value of a hexadecimal digit, -1 for another character.
func hexDigit(c byte) int {
	switch {
	case c >= '0' && c <= '9':
		return int(c - '0')
	case c|0x20 >= 'a' && c|0x20 <= 'f':
		return int(c|0x20-'a') + 10
	}
	return -1
}
