package publish

import (
	"context"
	"crypto/rand"
	"encoding/hex"
	"errors"
	"io"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"strings"
	"time"

	"vault-plugin-secrets-enterprise-pki/backend/fault"
	"vault-plugin-secrets-enterprise-pki/backend/feed"
)

const (
	unfinished = ".pki-edge-" // before the name of a file that is being written
	// abandoned is the age from which an unfinished file is nobody's: no delivery takes
	// that long.
	abandoned = time.Hour
)

// folder is a tree of files that others serve: a web server's root, a share. Neither
// a template nor a symbolic link leads out of the allowed directory.
type folder struct {
	publisher   feed.Publisher
	directories []string // that are allowed
	now         func() time.Time
	root        *os.Root
	swept       map[string]bool
}

// split divides the publisher's path into an allowed directory and what is below it.
func (f *folder) split() (directory, below string, err error) {
	for _, directory := range f.directories {
		if below, inside := strings.CutPrefix(f.publisher.Path, strings.TrimRight(directory, "/")+"/"); inside {
			return directory, below, nil
		}
	}
	return "", "", fault.FieldOf(fault.Denied, "path", "is below none of publish_directories in this edge's configuration")
}

func (f *folder) open(context.Context) error {
	directory, _, err := f.split()
	if err != nil {
		return err
	}
	if f.root, err = os.OpenRoot(directory); err != nil {
		return fault.New(fault.Unavailable, "opening the folder: %w", err)
	}
	f.swept = map[string]bool{}
	return nil
}

func (f *folder) close() {
	if f.root != nil {
		_ = f.root.Close()
	}
}

func (f *folder) place(i item) (string, error) {
	_, template, err := f.split()
	if err != nil {
		return "", err
	}
	name, err := expand(template, "path", i, oneSegment)
	if err != nil {
		return "", err
	}
	if !filepath.IsLocal(name) || path.Clean(name) != name {
		return "", fault.Field("path", "must lead to a file without \"..\"")
	}
	return name, nil
}

func (f *folder) read(_ context.Context, i item) ([]byte, error) {
	name, err := f.place(i)
	if err != nil {
		return nil, err
	}
	file, err := f.root.Open(name)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, fault.New(fault.Unavailable, "reading back: %w", err)
	}
	defer file.Close()
	content, err := io.ReadAll(io.LimitReader(file, maxContent))
	if err != nil {
		return nil, fault.New(fault.Unavailable, "reading back: %w", err)
	}
	return content, nil
}

// write puts the content into a file of its own, makes that durable and gives it the
// name. If we crash before the rename, the old content is there and the unfinished
// file is removed by a later write; after it, the new one is, which the folder's own
// fsync makes durable.
func (f *folder) write(_ context.Context, i item, content []byte) error {
	name, err := f.place(i)
	if err != nil {
		return err
	}
	dir := path.Dir(name)
	if err := f.root.MkdirAll(dir, 0o755); err != nil {
		return fault.New(fault.Unavailable, "making the folder: %w", err)
	}
	if err := f.sweep(dir); err != nil {
		return err
	}
	mark := make([]byte, 8)
	_, _ = rand.Read(mark) // never fails
	temporary := path.Join(dir, unfinished+hex.EncodeToString(mark))
	if err := f.fill(temporary, content); err != nil {
		_ = f.root.Remove(temporary)
		return fault.New(fault.Unavailable, "writing the file: %w", err)
	}
	if err := f.root.Rename(temporary, name); err != nil {
		_ = f.root.Remove(temporary)
		return fault.New(fault.Unavailable, "replacing the file: %w", err)
	}
	if err := f.sync(dir); err != nil {
		return fault.New(fault.Unavailable, "making the folder durable: %w", err)
	}
	return nil
}

// fill makes a durable file that anybody may read: whoever serves it is another user.
func (f *folder) fill(name string, content []byte) error {
	file, err := f.root.OpenFile(name, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o644)
	if err != nil {
		return err
	}
	_, err = file.Write(content)
	return errors.Join(err, file.Sync(), file.Close())
}

func (f *folder) sync(dir string) error {
	opened, err := f.root.Open(dir)
	if err != nil {
		return err
	}
	return errors.Join(opened.Sync(), opened.Close())
}

// sweep removes what a killed edge has left behind, once a round and folder.
func (f *folder) sweep(dir string) error {
	if f.swept[dir] {
		return nil
	}
	f.swept[dir] = true
	opened, err := f.root.Open(dir)
	if err != nil {
		return fault.New(fault.Unavailable, "listing the folder: %w", err)
	}
	defer opened.Close()
	entries, err := opened.ReadDir(-1)
	if err != nil {
		return fault.New(fault.Unavailable, "listing the folder: %w", err)
	}
	for _, entry := range entries {
		if !strings.HasPrefix(entry.Name(), unfinished) {
			continue
		}
		if about, err := entry.Info(); err == nil && f.now().Sub(about.ModTime()) > abandoned {
			_ = f.root.Remove(path.Join(dir, entry.Name())) // another edge was faster
		}
	}
	return nil
}
