package disk

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"io"
	"os"
	"path/filepath"

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

// PutList keeps a list and returns its SHA-256 in hexadecimal, under which it is found.
func (f *Folder) PutList(content []byte) (string, error) {
	sum := sha256.Sum256(content)
	digest := hex.EncodeToString(sum[:])
	return digest, f.replace(filepath.Join(listsName, digest), func(w io.Writer) error {
		_, err := io.Copy(w, bytes.NewReader(content))
		return err
	})
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
