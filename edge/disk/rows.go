package disk

import (
	"bufio"
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"time"

	"vault-plugin-secrets-enterprise-pki/backend/fault"
	"vault-plugin-secrets-enterprise-pki/backend/feed"
	"vault-plugin-secrets-enterprise-pki/edge/state"
)

// Position says up to where rows are whole.
type Position struct {
	Epoch    string
	Sequence int64
	At       time.Time // when the mount said that this is all, in whole seconds
}

// The file of rows begins with rowsMagic and goes on with portions, each as
//
//	length of what follows the checksum, checksum (CRC-32C of it), both 32 bits, big-endian
//	kind: part or whole, see below
//	Position: At (seconds since 1970, 64 bits), Sequence (64 bits), Epoch (length octet and octets)
//	rows as feed.Encode writes them
//
// The portions that a file is made with are parts, the last of which is whole; so is
// every one that is appended. What counts is the file up to the first portion that
// does not fit its checksum, if there is a whole one in it.
const (
	rowsMagic  = "pki-edge rows 1\n"
	portionTop = 8
	kindPart   = 0
	kindWhole  = 1
	maxPortion = feed.MaxOctets + 1<<10
	maxEpoch   = 128
)

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// encodePortion returns a portion as the file has it.
func encodePortion(kind byte, p Position, rows []feed.Row) ([]byte, error) {
	encoded, err := feed.Encode(rows)
	if err != nil {
		return nil, err
	}
	if len(p.Epoch) > maxEpoch {
		return nil, fault.New(fault.Invalid, "an epoch has at most %d bytes", maxEpoch)
	}
	b := make([]byte, portionTop, portionTop+18+len(p.Epoch)+len(encoded))
	b = append(b, kind)
	b = binary.BigEndian.AppendUint64(b, uint64(p.At.Unix()))
	b = binary.BigEndian.AppendUint64(b, uint64(p.Sequence))
	b = append(b, byte(len(p.Epoch)))
	b = append(b, p.Epoch...)
	b = append(b, encoded...)
	binary.BigEndian.PutUint32(b, uint32(len(b)-portionTop))
	binary.BigEndian.PutUint32(b[4:], crc32.Checksum(b[portionTop:], castagnoli))
	return b, nil
}

// readPortion reads the next portion, io.EOF at the end of the file, and tells how
// many octets it takes.
func readPortion(r io.Reader) (kind byte, p Position, rows []feed.Row, size int64, err error) {
	var top [portionTop]byte
	if _, err := io.ReadFull(r, top[:]); err != nil {
		return 0, p, nil, 0, err
	}
	length := binary.BigEndian.Uint32(top[:])
	if length < 18 || length > maxPortion {
		return 0, p, nil, 0, fault.New(fault.Internal, "a portion of rows has an invalid length of %d bytes", length)
	}
	b := make([]byte, length)
	if _, err := io.ReadFull(r, b); err != nil {
		return 0, p, nil, 0, err
	}
	if crc32.Checksum(b, castagnoli) != binary.BigEndian.Uint32(top[4:]) {
		return 0, p, nil, 0, fault.New(fault.Internal, "the checksum of a portion of rows does not fit")
	}
	kind, p.At = b[0], time.Unix(int64(binary.BigEndian.Uint64(b[1:])), 0)
	p.Sequence = int64(binary.BigEndian.Uint64(b[9:]))
	end := 18 + int(b[17])
	if kind > kindWhole || p.Sequence < 0 || end > len(b) {
		return 0, p, nil, 0, fault.New(fault.Internal, "a portion of rows has a malformed head")
	}
	p.Epoch = string(b[18:end])
	rows, err = feed.Decode(b[end:])
	return kind, p, rows, portionTop + int64(length), err
}

// RowsFile is the file of rows, open for portions to come.
type RowsFile struct {
	file *os.File
	// base is the size of the file as it was made, end where the next portion goes.
	base, end int64
	cut       int64
}

// Cut returns how many octets LoadRows has cut off: what a killed process was writing,
// or what is damaged, and everything behind it.
func (r *RowsFile) Cut() int64 { return r.cut }

// LoadRows reads the rows. Whatever follows the first damage is cut off: it is fetched
// again, since the position is that of what was whole. NotFound when there is nothing
// that can be used.
func (f *Folder) LoadRows() (*RowsFile, *state.Rows, Position, error) {
	file, err := os.OpenFile(filepath.Join(f.path, rowsName), os.O_RDWR, 0)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil, Position{}, fault.New(fault.NotFound, "there are no rows on disk")
	}
	if err != nil {
		return nil, nil, Position{}, fault.New(fault.Unavailable, "opening the rows: %w", err)
	}
	opened := &RowsFile{file: file}
	rows, position, err := opened.load()
	if err != nil {
		_ = file.Close()
		return nil, nil, Position{}, err
	}
	return opened, rows, position, nil
}

func (r *RowsFile) load() (*state.Rows, Position, error) {
	reader := bufio.NewReaderSize(r.file, 1<<20)
	magic := make([]byte, len(rowsMagic))
	if _, err := io.ReadFull(reader, magic); err != nil || string(magic) != rowsMagic {
		return nil, Position{}, fault.New(fault.NotFound, "the file of rows is of another release, or cut short")
	}
	var last Position
	collected, read := state.Collect(state.NoRows()), int64(len(rowsMagic))
	for {
		kind, position, rows, size, err := readPortion(reader)
		if err != nil {
			break // the end, or damage: what follows cannot be told apart from chance
		}
		if err := collected.Add(rows); err != nil {
			break
		}
		read += size
		if kind == kindWhole {
			last, r.end = position, read
			if r.base == 0 {
				r.base = read
			}
		}
	}
	if r.end == 0 || r.end != read {
		return nil, Position{}, fault.New(fault.NotFound, "the rows on disk are incomplete")
	}
	rows := collected.Rows()
	if info, err := r.file.Stat(); err == nil {
		r.cut = info.Size() - r.end
	}
	if err := r.file.Truncate(r.end); err != nil {
		return nil, Position{}, fault.New(fault.Unavailable, "cutting off damaged rows: %w", err)
	}
	return rows, last, nil
}

// Append adds rows that follow those in the file: in the order of their sequence
// numbers, at most feed.MaxRows. None moves the position alone, which nothing depends
// on: it is not synced.
//
// Killed in between: the portion is not whole, and is cut off and fetched again.
func (r *RowsFile) Append(position Position, rows []feed.Row) error {
	portion, err := encodePortion(kindWhole, position, rows)
	if err != nil {
		return fmt.Errorf("encoding rows: %w", err)
	}
	if _, err := r.file.WriteAt(portion, r.end); err != nil {
		return fault.New(fault.Unavailable, "appending rows: %w", err)
	}
	if len(rows) > 0 {
		if err := r.file.Sync(); err != nil {
			return fault.New(fault.Unavailable, "syncing rows: %w", err)
		}
	}
	r.end += int64(len(portion))
	return nil
}

// Grown reports whether the file holds so much that was replaced that it should be
// written anew.
func (r *RowsFile) Grown() bool { return r.end-r.base > r.base/2+1<<20 }

// Close closes the file.
func (r *RowsFile) Close() error { return r.file.Close() }

// WriteRows writes all rows anew, in place of the file that was there, and opens it.
func (f *Folder) WriteRows(position Position, rows *state.Rows) (*RowsFile, error) {
	if err := f.replace(rowsName, func(w *os.File) error { return writeRows(w, position, rows) }); err != nil {
		return nil, err
	}
	file, err := os.OpenFile(filepath.Join(f.path, rowsName), os.O_RDWR, 0)
	if err != nil {
		return nil, fault.New(fault.Unavailable, "opening the rows: %w", err)
	}
	size, err := file.Seek(0, io.SeekEnd)
	if err != nil {
		_ = file.Close()
		return nil, fault.New(fault.Unavailable, "opening the rows: %w", err)
	}
	return &RowsFile{file: file, base: size, end: size}, nil
}

func writeRows(w io.Writer, position Position, rows *state.Rows) error {
	buffered := bufio.NewWriterSize(w, 1<<20)
	if _, err := buffered.WriteString(rowsMagic); err != nil {
		return err
	}
	put := func(kind byte, portion []feed.Row) error {
		for i := range portion {
			portion[i].Sequence = uint64(i + 1) // feed.Encode wants an order, and nobody asks which
		}
		encoded, err := encodePortion(kind, position, portion)
		if err != nil {
			return err
		}
		_, err = buffered.Write(encoded)
		return err
	}
	portion := make([]feed.Row, 0, min(feed.MaxRows, rows.Len()))
	for row := range rows.All() {
		if len(portion) == feed.MaxRows {
			if err := put(kindPart, portion); err != nil {
				return err
			}
			portion = portion[:0]
		}
		portion = append(portion, row)
	}
	if err := put(kindWhole, portion); err != nil {
		return err
	}
	return buffered.Flush()
}
