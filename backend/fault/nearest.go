package fault

import (
	"slices"
	"strings"
)

// Nearest returns the name that a misspelled one was probably meant to be, "" for none:
// a name whose words begin with its letters (cn for common_name), or else the one with
// the fewest letters added, left out or changed, at most two, or else the first that has
// it as a word (serial for serial_number). For texts such as "did you mean".
func Nearest(misspelled string, names []string) string {
	const limit = 64 // bytes of a name that is worth comparing
	if len(misspelled) > limit || misspelled == "" {
		return ""
	}
	names = slices.Sorted(slices.Values(names))
	for _, name := range names {
		if len(misspelled) > 1 && initials(name) == misspelled {
			return name
		}
	}
	best, distance := "", min(3, len(misspelled)/2+1) // of a short name, two letters are all
	for _, name := range names {
		if d := edits(misspelled, name); d < distance {
			best, distance = name, d
		}
	}
	if best != "" || len(misspelled) < 3 {
		return best
	}
	for _, name := range names {
		if slices.Contains(strings.Split(name, "_"), misspelled) {
			return name
		}
	}
	return ""
}

// initials returns the first letters of a name's words.
func initials(name string) string {
	var letters strings.Builder
	for word := range strings.SplitSeq(name, "_") {
		if word != "" {
			letters.WriteByte(word[0])
		}
	}
	return letters.String()
}

// edits is the Levenshtein distance of two short names.
func edits(a, b string) int {
	row := make([]int, len(b)+1)
	for j := range row {
		row[j] = j
	}
	for i := range len(a) {
		diagonal := row[0]
		row[0] = i + 1
		for j := range len(b) {
			cost := diagonal
			if a[i] != b[j] {
				cost++
			}
			diagonal = row[j+1]
			row[j+1] = min(cost, row[j]+1, row[j+1]+1)
		}
	}
	return row[len(b)]
}
