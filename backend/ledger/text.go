package ledger

import "strings"

// Texts of rows live in chunks that only ever grow, so that a million rows are not
// two million objects to the garbage collector, and a text once read stays valid
// without a lock.

const (
	chunkSize = 1 << 16
	// textUnit is the alignment of texts: offsets count units, which lets 32 bits
	// reach 16 GiB of text, more than 300 million rows.
	textUnit = 4
)

// arena holds for each row the hash of its key, the length of its serial, the
// serial and the name, one after the other.
type arena struct {
	full []string // sealed chunks; append only
	open *strings.Builder
	dead int // octets of texts whose rows are gone
}

const (
	hashLength   = 8
	serialOffset = hashLength + 1
)

// put stores the texts of a row and returns their place, which is never 0.
func (a *arena) put(keyHash [hashLength]byte, serial, name string) uint32 {
	length := serialOffset + len(serial) + len(name)
	if a.open == nil || a.open.Len()+length > chunkSize {
		if a.open != nil {
			a.full = append(a.full, a.open.String())
		}
		a.open = new(strings.Builder)
		a.open.Grow(chunkSize)
		a.open.WriteString(padding)
	}
	place := len(a.full)*chunkSize + a.open.Len()
	a.open.Write(keyHash[:])
	a.open.WriteByte(byte(len(serial)))
	a.open.WriteString(serial)
	a.open.WriteString(name)
	if odd := length % textUnit; odd != 0 {
		a.open.WriteString(padding[odd:])
	}
	return uint32(place / textUnit)
}

const padding = "\x00\x00\x00\x00"

// drop notes that a row's texts are wanted no more. They stay where they are, because
// a view may still read them: see Ledger.shrink.
func (a *arena) drop(serialLen, nameLen int) {
	length := serialOffset + serialLen + nameLen
	a.dead += (length + textUnit - 1) / textUnit * textUnit
}

// wasteful reports whether more than half of the arena is dead.
func (a *arena) wasteful() bool { return a.dead > len(a.full)*chunkSize/2 && len(a.full) > 0 }

// texts is a view of an arena; what is put later does not disturb it.
type texts struct {
	full []string
	open string
}

func (a *arena) view() texts {
	t := texts{full: a.full}
	if a.open != nil {
		t.open = a.open.String()
	}
	return t
}

// from returns the texts from a place on.
func (t *texts) from(place uint32) string {
	start := int(place) * textUnit
	if i := start / chunkSize; i < len(t.full) {
		return t.full[i][start%chunkSize:]
	}
	return t.open[start%chunkSize:]
}

func (t *texts) keyHash(place uint32) [hashLength]byte {
	return [hashLength]byte([]byte(t.from(place)[:hashLength]))
}

func (t *texts) serial(place uint32) string {
	text := t.from(place)
	return text[serialOffset : serialOffset+int(text[hashLength])]
}

func (t *texts) name(place uint32, serialLen, nameLen int) string {
	start := serialOffset + serialLen
	return t.from(place)[start : start+nameLen]
}

// words numbers the few texts that many rows share: issuers, roles, profiles,
// owners.
type words struct {
	numbers map[string]uint32
	list    []string // append only
}

func (w *words) put(text string) uint32 {
	if number, found := w.numbers[text]; found {
		return number
	}
	if w.numbers == nil {
		w.numbers = map[string]uint32{}
	}
	text = strings.Clone(text)
	number := uint32(len(w.list))
	w.numbers[text] = number
	w.list = append(w.list, text)
	return number
}
