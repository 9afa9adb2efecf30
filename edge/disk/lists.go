package disk

import (
	"crypto/sha256"
	"encoding/hex"
	"io"
	"os"
	"path/filepath"
	"runtime/debug"
	"syscall"

	"vault-plugin-secrets-enterprise-pki/backend/fault"
)

// listPath returns the file of a list: its name is the hash of what is in it, so that
// one that is there is whole or does not fit its name.
func (f *Folder) listPath(digest string) (string, error) {
	if raw, err := hex.DecodeString(digest); err != nil || len(raw) != sha256.Size || hex.EncodeToString(raw) != digest {
		return "", fault.New(fault.Invalid, "%q is no SHA-256 in lower-case hexadecimal", digest)
	}
	return filepath.Join(f.path, listsName, digest), nil
}

// PutList keeps a list of a SHA-256 in hexadecimal. write writes its octets, which go to
// disk as they come, and accept looks at all of them: mapped, not read, since a list
// may be larger than everything else an edge has in memory. Errors of either are
// returned as they are, and an error leaves the lists as they were: Invalid when the
// hash does not fit.
func (f *Folder) PutList(digest string, write func(io.Writer) error, accept func(der []byte) error) error {
	if _, err := f.listPath(digest); err != nil {
		return err
	}
	var refused error
	err := f.replace(filepath.Join(listsName, digest), func(file *os.File) error {
		hash := sha256.New()
		if refused = write(io.MultiWriter(file, hash)); refused != nil {
			return refused
		}
		if hex.EncodeToString(hash.Sum(nil)) != digest {
			refused = fault.New(fault.Invalid, "the list has another hash than announced")
			return refused
		}
		return mapped(file, func(der []byte) error {
			refused = accept(der)
			return refused
		})
	})
	if refused != nil {
		return refused
	}
	return err
}

// mapped calls work with the content of a file, which ends with the call. A disk that
// fails meanwhile is a panic, not the end of the process.
func mapped(file *os.File, work func(content []byte) error) error {
	info, err := file.Stat()
	if err != nil {
		return err
	}
	if info.Size() == 0 {
		return work(nil)
	}
	content, err := syscall.Mmap(int(file.Fd()), 0, int(info.Size()), syscall.PROT_READ, syscall.MAP_SHARED)
	if err != nil {
		return err
	}
	defer func() { _ = syscall.Munmap(content) }() // fails for what is not mapped only
	defer debug.SetPanicOnFault(debug.SetPanicOnFault(true))
	return work(content)
}

// OpenList opens a list for reading. NotFound when there is none. It may be called at
// any time; a list that Sweep removes afterwards can still be read to its end.
func (f *Folder) OpenList(digest string) (*os.File, error) {
	path, err := f.listPath(digest)
	if err != nil {
		return nil, err
	}
	file, err := os.Open(path)
	if err != nil {
		return nil, fault.New(fault.NotFound, "opening list %s: %w", digest, err)
	}
	return file, nil
}

// HasList reports whether a list is there and whole. It reads all of it.
func (f *Folder) HasList(digest string) bool {
	file, err := f.OpenList(digest)
	if err != nil {
		return false
	}
	defer file.Close()
	hash := sha256.New()
	if _, err := io.Copy(hash, file); err != nil {
		return false
	}
	return hex.EncodeToString(hash.Sum(nil)) == digest
}

// Sweep removes the lists that keep does not name.
func (f *Folder) Sweep(keep map[string]bool) error {
	dir := filepath.Join(f.path, listsName)
	entries, err := os.ReadDir(dir)
	if err != nil {
		return fault.New(fault.Unavailable, "listing the lists on disk: %w", err)
	}
	for _, entry := range entries {
		if !keep[entry.Name()] {
			if err := os.Remove(filepath.Join(dir, entry.Name())); err != nil {
				return fault.New(fault.Unavailable, "removing an old list: %w", err)
			}
		}
	}
	return nil
}
