package disk

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"syscall"

	"vault-plugin-secrets-enterprise-pki/backend/fault"
)

// Names below the folder.
const (
	lockName   = "lock"
	rowsName   = "rows"
	listsName  = "lists"
	unfinished = ".new" // ends the name of a file that is being written
)

// maxRecord is the largest record that is read, in octets.
const maxRecord = 64 << 20

// Folder is the folder of one edge. One process uses it at a time. Its methods may be
// called at the same time for different records, lists by one goroutine but for
// OpenList and HasList, rows by another.
type Folder struct {
	path string
	lock *os.File
}

// Open makes the folder if need be and takes it: Conflict when another process has it.
func Open(path string) (*Folder, error) {
	if err := os.MkdirAll(filepath.Join(path, listsName), 0o700); err != nil {
		return nil, fault.New(fault.Unavailable, "making the folder of copies: %w", err)
	}
	lock, err := os.OpenFile(filepath.Join(path, lockName), os.O_CREATE|os.O_RDWR, 0o600)
	if err != nil {
		return nil, fault.New(fault.Unavailable, "locking the folder of copies: %w", err)
	}
	// The kernel lets go of it when the process ends, however it ends.
	if err := syscall.Flock(int(lock.Fd()), syscall.LOCK_EX|syscall.LOCK_NB); err != nil {
		_ = lock.Close()
		return nil, fault.New(fault.Conflict, "%s is in use by another process", path)
	}
	f := &Folder{path: path, lock: lock}
	for _, dir := range []string{path, filepath.Join(path, listsName)} {
		if err := removeUnfinished(dir); err != nil {
			_ = lock.Close()
			return nil, err
		}
	}
	return f, nil
}

func removeUnfinished(dir string) error {
	entries, err := os.ReadDir(dir)
	if err != nil {
		return fault.New(fault.Unavailable, "listing the folder of copies: %w", err)
	}
	for _, entry := range entries {
		if strings.HasSuffix(entry.Name(), unfinished) {
			if err := os.Remove(filepath.Join(dir, entry.Name())); err != nil {
				return fault.New(fault.Unavailable, "removing what a killed process left: %w", err)
			}
		}
	}
	return nil
}

// Close gives the folder up.
func (f *Folder) Close() error { return f.lock.Close() }

// replace writes a file beside its place, syncs it, and puts it there at once.
//
// Killed before the rename: the old file, and one more that Open removes. Killed
// after it: the new file, or the old one when the machine lost the rename.
func (f *Folder) replace(name string, write func(*os.File) error) error {
	path := filepath.Join(f.path, name)
	file, err := os.OpenFile(path+unfinished, os.O_CREATE|os.O_TRUNC|os.O_RDWR, 0o600)
	if err != nil {
		return fault.New(fault.Unavailable, "writing %s: %w", name, err)
	}
	err = errors.Join(write(file), file.Sync(), file.Close())
	if err == nil {
		err = os.Rename(path+unfinished, path)
	}
	if err != nil {
		_ = os.Remove(path + unfinished)
		return fault.New(fault.Unavailable, "writing %s: %w", name, err)
	}
	return syncFolder(filepath.Dir(path))
}

// syncFolder makes renames in a folder last.
func syncFolder(path string) error {
	dir, err := os.Open(path)
	if err != nil {
		return fault.New(fault.Unavailable, "syncing the folder of copies: %w", err)
	}
	defer dir.Close()
	if err := dir.Sync(); err != nil {
		return fault.New(fault.Unavailable, "syncing the folder of copies: %w", err)
	}
	return nil
}

// recordName is what a record may be called: it becomes the name of a file.
var recordName = regexp.MustCompile(`^[A-Za-z0-9][A-Za-z0-9-]{0,100}$`)

func recordFile(name string) (string, error) {
	if !recordName.MatchString(name) {
		return "", fault.New(fault.Invalid, "%q cannot be the name of a record", name)
	}
	return name + ".json", nil
}

// Write writes a record: its checksum on the first line, then JSON.
func (f *Folder) Write(name string, record any) error {
	file, err := recordFile(name)
	if err != nil {
		return err
	}
	content, err := json.Marshal(record)
	if err != nil {
		return fmt.Errorf("encoding record %s: %w", name, err)
	}
	digest := sha256.Sum256(content)
	return f.replace(file, func(w *os.File) error {
		_, err := fmt.Fprintf(w, "%x\n%s\n", digest, content)
		return err
	})
}

// Read reads a record into target. NotFound when there is none, Internal when the
// file is not what Write has written: then target is as it was.
func (f *Folder) Read(name string, target any) error {
	file, err := recordFile(name)
	if err != nil {
		return err
	}
	opened, err := os.Open(filepath.Join(f.path, file))
	if errors.Is(err, fs.ErrNotExist) {
		return fault.New(fault.NotFound, "there is no record %s", name)
	}
	if err != nil {
		return fault.New(fault.Unavailable, "reading record %s: %w", name, err)
	}
	defer opened.Close()
	raw, err := io.ReadAll(io.LimitReader(opened, maxRecord))
	if err != nil {
		return fault.New(fault.Unavailable, "reading record %s: %w", name, err)
	}
	content, err := checked(raw)
	if err != nil {
		return fmt.Errorf("reading record %s: %w", name, err)
	}
	if err := json.Unmarshal(content, target); err != nil {
		return fault.New(fault.Internal, "reading record %s: it is of another release", name)
	}
	return nil
}

// checked returns the content of a record whose checksum fits.
func checked(raw []byte) ([]byte, error) {
	const line = 2*sha256.Size + 1
	if len(raw) < line+1 || raw[line-1] != '\n' || raw[len(raw)-1] != '\n' {
		return nil, fault.New(fault.Internal, "the record is incomplete")
	}
	content := raw[line : len(raw)-1]
	digest := sha256.Sum256(content)
	if string(raw[:line-1]) != hex.EncodeToString(digest[:]) {
		return nil, fault.New(fault.Internal, "the checksum does not match")
	}
	return content, nil
}

// Remove removes a record; one that is not there is no error.
func (f *Folder) Remove(name string) error {
	file, err := recordFile(name)
	if err != nil {
		return err
	}
	if err := os.Remove(filepath.Join(f.path, file)); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return fault.New(fault.Unavailable, "removing record %s: %w", name, err)
	}
	return nil
}
