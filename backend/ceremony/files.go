package ceremony

import (
	"bytes"
	"crypto/sha256"
	"crypto/x509"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"

	"vault-plugin-secrets-enterprise-pki/backend/cert"
	"vault-plugin-secrets-enterprise-pki/backend/crl"
	"vault-plugin-secrets-enterprise-pki/backend/fault"
)

const (
	maxFile = 16 << 20 // octets of an input file
	mode    = 0o644    // of outputs: certificates and CRLs are public
)

// ReadFile reads an input of at most 16 MiB. field is named in the refusal.
func ReadFile(field, path string) ([]byte, error) {
	if path == "" {
		return nil, fault.Field(field, "must name a file")
	}
	file, err := os.Open(path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, fault.FieldOf(fault.NotFound, field, "%w", err)
	}
	if err != nil {
		return nil, fault.FieldOf(fault.Unavailable, field, "%w", err)
	}
	defer file.Close()
	raw, err := io.ReadAll(io.LimitReader(file, maxFile+1))
	if err != nil {
		return nil, fault.FieldOf(fault.Unavailable, field, "reading %s: %w", path, err)
	}
	if len(raw) > maxFile {
		return nil, fault.FieldOf(fault.TooLarge, field, "%s must be at most %d bytes", path, maxFile)
	}
	return raw, nil
}

// readCertificate reads a file that holds exactly one certificate.
func readCertificate(field, path string) (*x509.Certificate, error) {
	raw, err := ReadFile(field, path)
	if err != nil {
		return nil, err
	}
	certificates, others, err := cert.ParseCertificates(raw)
	if err != nil {
		return nil, fault.FieldOf(fault.KindOf(err), field, "reading %s: %w", path, err)
	}
	if len(certificates) != 1 || len(others) != 0 {
		return nil, fault.Field(field, "%s must hold one certificate and nothing else", path)
	}
	return certificates[0], nil
}

// readCRL reads a file that holds one CRL in DER or PEM.
func readCRL(field, path string) (*x509.RevocationList, error) {
	raw, err := ReadFile(field, path)
	if err != nil {
		return nil, err
	}
	list, err := crl.ReadForeign(raw)
	if err != nil {
		return nil, fault.Field(field, "%s %w", path, err)
	}
	return list, nil
}

// output is a file that a ceremony will write: an empty one until then, which keeps
// the name and proves that the place can be written.
type output struct {
	field, path string
	reserved    fs.FileInfo
	written     bool
}

// reserve creates all outputs, empty. An existing file is refused, whatever it
// holds: nothing that was signed before is ever overwritten. If the machine fails
// here, empty files are left that hold the names until someone removes them.
func reserve(outputs ...*output) (err error) {
	defer func() {
		if err != nil {
			release(outputs...)
		}
	}()
	for _, o := range outputs {
		if o.path == "" {
			return fault.Field(o.field, "must name a file")
		}
		file, err := os.OpenFile(o.path, os.O_WRONLY|os.O_CREATE|os.O_EXCL, mode)
		if errors.Is(err, fs.ErrExist) {
			return fault.FieldOf(fault.Conflict, o.field, "%s exists and is never overwritten; choose another name or move it away", o.path)
		}
		if err != nil {
			return fault.FieldOf(fault.Unavailable, o.field, "%w", err)
		}
		o.reserved, err = file.Stat()
		if err := errors.Join(err, file.Close()); err != nil {
			return fault.FieldOf(fault.Unavailable, o.field, "reserving %s: %w", o.path, err)
		}
	}
	return nil
}

// release removes the outputs that were reserved and not written.
func release(outputs ...*output) {
	for _, o := range outputs {
		if o.reserved == nil || o.written {
			continue
		}
		if o.untouched() {
			_ = os.Remove(o.path) // an empty file stays and is refused by name next time
		}
	}
}

// untouched reports whether the name still holds the empty file that reserved it.
func (o *output) untouched() bool {
	now, err := os.Lstat(o.path)
	return err == nil && os.SameFile(now, o.reserved) && now.Size() == 0
}

// write puts the octets in the place of the reservation at once: readers see the
// empty file or the whole one. It is durable when write returns. The octets are read
// back from the file.
func (o *output) write(octets []byte) error {
	part := o.path + ".part"
	file, err := os.OpenFile(part, os.O_WRONLY|os.O_CREATE|os.O_EXCL, mode)
	if err != nil {
		return fault.FieldOf(fault.Unavailable, o.field, "%w", err)
	}
	_, err = file.Write(octets)
	// The umask may have narrowed the mode; file systems of removable media may have
	// no modes, which does not matter.
	_ = file.Chmod(mode)
	err = errors.Join(err, file.Sync(), file.Close())
	if err == nil && !o.untouched() {
		_ = os.Remove(part) // as above
		return fault.FieldOf(fault.Conflict, o.field, "someone else wrote %s meanwhile; it is left as it is", o.path)
	}
	if err == nil {
		err = os.Rename(part, o.path)
	}
	if err != nil {
		_ = os.Remove(part) // as above
		return fault.FieldOf(fault.Unavailable, o.field, "writing %s: %w", o.path, err)
	}
	o.written = true
	if err := syncFolder(o.path); err != nil {
		return fault.FieldOf(fault.Unavailable, o.field, "writing %s: %w", o.path, err)
	}
	back, err := ReadFile(o.field, o.path)
	if err != nil {
		return err
	}
	if !bytes.Equal(back, octets) {
		return fault.FieldOf(fault.Unavailable, o.field, "%s does not read back as it was written: do not use this medium", o.path)
	}
	return nil
}

// syncFolder makes the name of a file durable.
func syncFolder(path string) error {
	folder, err := os.Open(filepath.Dir(path))
	if err != nil {
		return err
	}
	return errors.Join(folder.Sync(), folder.Close())
}

// FileSHA256 returns the SHA-256 digest of a file's octets, in lower-case hexadecimal.
func FileSHA256(path string) (string, error) {
	file, err := os.Open(path)
	if err != nil {
		return "", fmt.Errorf("hashing %s: %w", path, err)
	}
	defer file.Close()
	digest := sha256.New()
	if _, err := io.Copy(digest, file); err != nil {
		return "", fmt.Errorf("hashing %s: %w", path, err)
	}
	return hex.EncodeToString(digest.Sum(nil)), nil
}

// announce reports a written file with what a witness compares.
func (c *Ceremony) announce(name, path string) error {
	digest, err := FileSHA256(path)
	if err != nil {
		return fault.New(fault.Unavailable, "%w", err)
	}
	c.report(name+" written and read back", Fact{"file", path}, Fact{"file SHA-256", digest})
	return nil
}
