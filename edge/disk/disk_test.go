package disk_test

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"vault-plugin-secrets-enterprise-pki/backend/cert"
	"vault-plugin-secrets-enterprise-pki/backend/fault"
	"vault-plugin-secrets-enterprise-pki/backend/feed"
	"vault-plugin-secrets-enterprise-pki/edge/disk"
	"vault-plugin-secrets-enterprise-pki/edge/state"
)

var noon = time.Unix(1772366400, 0)

func open(t testing.TB, path string) *disk.Folder {
	t.Helper()
	folder, err := disk.Open(path)
	require.NoError(t, err)
	t.Cleanup(func() { _ = folder.Close() })
	return folder
}

type record struct {
	Text string `json:"text"`
}

func TestOpen_OneProcessAtATime(t *testing.T) {
	dir := t.TempDir()
	first := open(t, dir)
	_, err := disk.Open(dir)
	require.True(t, fault.Is(err, fault.Conflict), "%v", err)
	require.NoError(t, first.Close())
	open(t, dir)
}

func TestRecord_ComesBack(t *testing.T) {
	folder := open(t, t.TempDir())
	var read record
	require.True(t, fault.Is(folder.Read("held", &read), fault.NotFound))
	require.NoError(t, folder.Write("held", record{"one"}))
	require.NoError(t, folder.Write("held", record{"two"}))
	require.NoError(t, folder.Read("held", &read))
	require.Equal(t, "two", read.Text)
	require.NoError(t, folder.Remove("held"))
	require.NoError(t, folder.Remove("held"))
	require.True(t, fault.Is(folder.Read("held", &read), fault.NotFound))
	for _, name := range []string{"", "../held", "a/b", ".", "a.json"} {
		require.True(t, fault.Is(folder.Write(name, read), fault.Invalid), name)
	}
}

// TestCrash1_DamagedRecordIsRefused damages a record at each of its octets, by
// cutting it there and by changing it.
func TestCrash1_DamagedRecordIsRefused(t *testing.T) {
	dir := t.TempDir()
	folder := open(t, dir)
	require.NoError(t, folder.Write("held", record{"whole"}))
	path := filepath.Join(dir, "held.json")
	whole, err := os.ReadFile(path)
	require.NoError(t, err)
	for at := range whole {
		for _, damaged := range [][]byte{whole[:at], flip(whole, at)} {
			require.NoError(t, os.WriteFile(path, damaged, 0o600))
			read := record{"as it was"}
			err := folder.Read("held", &read)
			require.True(t, fault.Is(err, fault.Internal), "octet %d: %v", at, err)
			require.Equal(t, "as it was", read.Text)
		}
	}
	require.NoError(t, folder.Write("held", record{"anew"}))
	var read record
	require.NoError(t, folder.Read("held", &read))
}

func flip(whole []byte, at int) []byte {
	damaged := bytes.Clone(whole)
	damaged[at] ^= 0x15
	return damaged
}

// TestCrash1_KilledWhileReplacing leaves what a process killed at each octet of a
// write leaves: the old record counts, and the rest is removed.
func TestCrash1_KilledWhileReplacing(t *testing.T) {
	dir := t.TempDir()
	folder := open(t, dir)
	require.NoError(t, folder.Write("held", record{"new"}))
	path := filepath.Join(dir, "held.json")
	next, err := os.ReadFile(path)
	require.NoError(t, err)
	require.NoError(t, folder.Write("held", record{"old"}))
	for at := range len(next) + 1 {
		require.NoError(t, folder.Close())
		require.NoError(t, os.WriteFile(path+".new", next[:at], 0o600))
		require.NoError(t, os.WriteFile(filepath.Join(dir, "lists", "00.new"), next[:at], 0o600))
		folder = open(t, dir)
		var read record
		require.NoError(t, folder.Read("held", &read))
		require.Equal(t, "old", read.Text)
		require.NoFileExists(t, path+".new")
		require.NoFileExists(t, filepath.Join(dir, "lists", "00.new"))
	}
}

// putList keeps a list that nobody refuses.
func putList(folder *disk.Folder, content []byte) (digest string, err error) {
	sum := sha256.Sum256(content)
	digest = hex.EncodeToString(sum[:])
	write := func(w io.Writer) error { _, err := w.Write(content); return err }
	return digest, folder.PutList(digest, write, func([]byte) error { return nil })
}

func TestList_IsKeptWhenItIsAccepted(t *testing.T) {
	dir := t.TempDir()
	folder := open(t, dir)
	content := []byte("a list")
	sum := sha256.Sum256(content)
	digest := hex.EncodeToString(sum[:])
	write := func(w io.Writer) error { _, err := w.Write(content); return err }
	refusal := fault.New(fault.Conflict, "not this one")
	for name, put := range map[string]struct {
		digest string
		write  func(io.Writer) error
		want   error
	}{
		"refused":   {digest, write, refusal},
		"cut short": {digest, func(io.Writer) error { return refusal }, refusal},
	} {
		seen := false
		err := folder.PutList(put.digest, put.write, func(der []byte) error {
			require.Equal(t, content, der, name)
			seen = true
			return refusal
		})
		require.Equal(t, put.want, err, name)
		require.Equal(t, name == "refused", seen, name)
	}
	other := strings.Repeat("00", sha256.Size)
	err := folder.PutList(other, write, func([]byte) error { return nil })
	require.True(t, fault.Is(err, fault.Invalid), "%v", err)
	err = folder.PutList("../held", write, func([]byte) error { return nil })
	require.True(t, fault.Is(err, fault.Invalid), "%v", err)
	left, err := os.ReadDir(filepath.Join(dir, "lists"))
	require.NoError(t, err)
	require.Empty(t, left)

	require.NoError(t, folder.PutList(digest, write, func(der []byte) error {
		require.Equal(t, content, der)
		return nil
	}))
	require.True(t, folder.HasList(digest))
}

func TestList_IsFoundByItsHash(t *testing.T) {
	dir := t.TempDir()
	folder := open(t, dir)
	content := []byte("a list")
	digest, err := putList(folder, content)
	require.NoError(t, err)
	sum := sha256.Sum256(content)
	require.Equal(t, hex.EncodeToString(sum[:]), digest)
	require.True(t, folder.HasList(digest))
	file, err := folder.OpenList(digest)
	require.NoError(t, err)
	defer file.Close()
	require.NoError(t, folder.Sweep(map[string]bool{digest: true}))
	require.True(t, folder.HasList(digest))
	require.NoError(t, folder.Sweep(nil))
	require.False(t, folder.HasList(digest))
	read, err := io.ReadAll(file)
	require.NoError(t, err)
	require.Equal(t, content, read, "who reads it may read on")
	for _, name := range []string{"", "../held", digest[:10], "AB" + digest[2:]} {
		_, err := folder.OpenList(name)
		require.True(t, fault.Is(err, fault.Invalid), name)
	}
}

func TestCrash1_DamagedListIsRefused(t *testing.T) {
	dir := t.TempDir()
	folder := open(t, dir)
	content := []byte("a list of revoked certificates")
	digest, err := putList(folder, content)
	require.NoError(t, err)
	for at := range content {
		for _, damaged := range [][]byte{content[:at], flip(content, at)} {
			require.NoError(t, os.WriteFile(filepath.Join(dir, "lists", digest), damaged, 0o600))
			require.False(t, folder.HasList(digest), at)
		}
	}
}

func rowsOf(first, count int) []feed.Row {
	rows := make([]feed.Row, count)
	for i := range rows {
		rows[i] = feed.Row{
			Serial: cert.Serial([]byte{1, byte((first + i) >> 8), byte(first + i)}), Issuer: "a",
			State: feed.Good, NotAfter: noon, Sequence: uint64(first + i + 1),
		}
	}
	return rows
}

// build writes a base of three rows and two portions more, and returns the positions
// at which the file was whole, with its size at each.
func build(t *testing.T, folder *disk.Folder, path string) (sizes []int64, positions []disk.Position) {
	t.Helper()
	base, err := state.NoRows().With(rowsOf(0, 3))
	require.NoError(t, err)
	position := func(sequence int64) disk.Position {
		return disk.Position{Epoch: "e1", Sequence: sequence, At: noon.Add(time.Duration(sequence) * time.Second)}
	}
	note := func(p disk.Position) {
		info, err := os.Stat(path)
		require.NoError(t, err)
		sizes, positions = append(sizes, info.Size()), append(positions, p)
	}
	file, err := folder.WriteRows(position(3), base)
	require.NoError(t, err)
	note(position(3))
	require.NoError(t, file.Append(position(5), rowsOf(3, 2)))
	note(position(5))
	require.NoError(t, file.Append(position(6), nil))
	note(position(6))
	require.NoError(t, file.Close())
	return sizes, positions
}

func TestRows_ComeBack(t *testing.T) {
	dir := t.TempDir()
	folder := open(t, dir)
	_, _, _, err := folder.LoadRows()
	require.True(t, fault.Is(err, fault.NotFound))
	_, positions := build(t, folder, filepath.Join(dir, "rows"))
	file, rows, position, err := folder.LoadRows()
	require.NoError(t, err)
	require.Equal(t, positions[2], position)
	require.Equal(t, 5, rows.Len())
	revoked := rowsOf(0, 1)
	revoked[0].State, revoked[0].RevokedAt, revoked[0].Reason = feed.Revoked, noon, cert.Superseded
	require.NoError(t, file.Append(disk.Position{Epoch: "e1", Sequence: 7, At: noon}, revoked))
	require.NoError(t, file.Close())
	_, rows, _, err = folder.LoadRows()
	require.NoError(t, err)
	found, ok := rows.Find("a", revoked[0].Serial)
	require.True(t, ok)
	require.Equal(t, cert.Superseded, found.Reason)
}

func TestRows_ManyPortions(t *testing.T) {
	folder := open(t, t.TempDir())
	rows := state.NoRows()
	var err error
	for first := 0; first < 20000; first += feed.MaxRows {
		rows, err = rows.With(rowsOf(first, min(feed.MaxRows, 20000-first)))
		require.NoError(t, err)
	}
	file, err := folder.WriteRows(disk.Position{Epoch: "e", Sequence: 20000, At: noon}, rows)
	require.NoError(t, err)
	require.False(t, file.Grown())
	sequence := int64(20000)
	for !file.Grown() {
		sequence += feed.MaxRows
		require.NoError(t, file.Append(disk.Position{Epoch: "e", Sequence: sequence, At: noon}, rowsOf(0, feed.MaxRows)))
	}
	require.NoError(t, file.Close())
	_, read, position, err := folder.LoadRows()
	require.NoError(t, err)
	require.Equal(t, 20000, read.Len())
	require.Equal(t, sequence, position.Sequence)
}

// TestCrash1_DamagedRowsAreAnOlderTruth cuts the file at each octet, and changes each
// octet: what is read is exactly what was whole before the damage, or nothing, and
// what is appended after it is read back.
func TestCrash1_DamagedRowsAreAnOlderTruth(t *testing.T) {
	dir := t.TempDir()
	folder := open(t, dir)
	path := filepath.Join(dir, "rows")
	sizes, positions := build(t, folder, path)
	whole, err := os.ReadFile(path)
	require.NoError(t, err)
	counts := []int{3, 5, 5}
	for at := range whole {
		for _, damaged := range [][]byte{whole[:at], flip(whole, at)} {
			require.NoError(t, os.WriteFile(path, damaged, 0o600))
			file, rows, position, err := folder.LoadRows()
			last := -1
			for i, size := range sizes {
				if size <= int64(at) {
					last = i
				}
			}
			if last < 0 {
				require.True(t, fault.Is(err, fault.NotFound), "octet %d: %v", at, err)
				continue
			}
			require.NoError(t, err)
			require.Equal(t, positions[last], position, "octet %d", at)
			require.Equal(t, counts[last], rows.Len())
			require.Equal(t, int64(len(damaged))-sizes[last], file.Cut(), "octet %d", at)
			require.NoError(t, file.Append(disk.Position{Epoch: "e1", Sequence: 9, At: noon}, rowsOf(5, 1)))
			require.NoError(t, file.Close())
			_, rows, position, err = folder.LoadRows()
			require.NoError(t, err)
			require.Equal(t, int64(9), position.Sequence)
			require.Equal(t, counts[last]+1, rows.Len())
		}
	}
}

func FuzzLoadRows(f *testing.F) {
	dir := f.TempDir()
	folder := open(f, dir)
	base, err := state.NoRows().With(rowsOf(0, 3))
	require.NoError(f, err)
	file, err := folder.WriteRows(disk.Position{Epoch: "e", Sequence: 3, At: noon}, base)
	require.NoError(f, err)
	require.NoError(f, file.Append(disk.Position{Epoch: "e", Sequence: 4, At: noon}, rowsOf(3, 1)))
	require.NoError(f, file.Close())
	path := filepath.Join(dir, "rows")
	whole, err := os.ReadFile(path)
	require.NoError(f, err)
	f.Add(whole)
	f.Add(whole[:len(whole)-1])
	f.Add([]byte("pki-edge rows 1\n"))
	f.Fuzz(func(t *testing.T, raw []byte) {
		require.NoError(t, os.WriteFile(path, raw, 0o600))
		file, rows, position, err := folder.LoadRows()
		if err != nil {
			return
		}
		require.NoError(t, file.Close())
		again, reread, reposition, err := folder.LoadRows()
		require.NoError(t, err, "what was left can be read")
		require.NoError(t, again.Close())
		require.Equal(t, rows.Len(), reread.Len())
		require.Equal(t, position, reposition)
	})
}

func FuzzReadRecord(f *testing.F) {
	dir := f.TempDir()
	folder := open(f, dir)
	require.NoError(f, folder.Write("held", record{"x"}))
	path := filepath.Join(dir, "held.json")
	whole, err := os.ReadFile(path)
	require.NoError(f, err)
	f.Add(whole)
	f.Add([]byte("e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855\n\n"))
	f.Fuzz(func(t *testing.T, raw []byte) {
		require.NoError(t, os.WriteFile(path, raw, 0o600))
		var read record
		if err := folder.Read("held", &read); err == nil {
			require.NoError(t, folder.Write("held", read))
		}
	})
}
