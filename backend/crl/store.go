package crl

import (
	"bytes"
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"

	"vault-plugin-secrets-enterprise-pki/backend/kv"
	"vault-plugin-secrets-enterprise-pki/backend/layout"
)

// errTorn says that storage does not hold the body that a head names.
var errTorn = errors.New("the stored body does not match its head")

// bodyPrefix returns the folder of all bodies of a list.
func bodyPrefix(name string) string { return layout.CRLBody + name + "/" }

// chunkKey returns crl-body/<list>/<number>/<chunk>.
func chunkKey(name string, number int64, chunk int) string {
	return bodyPrefix(name) + strconv.FormatInt(number, 10) + "/" + strconv.Itoa(chunk)
}

// chunks returns how many storage entries a body takes.
func chunks(size int) int { return (size + kv.MaxValue - 1) / kv.MaxValue }

// readBody returns the body that a head names, or errTorn when it is not whole.
func (s *Service) readBody(ctx context.Context, name string, head Head) ([]byte, error) {
	body := make([]byte, 0, head.Size)
	for i := range head.Chunks {
		chunk, err := s.config.Store.Get(ctx, chunkKey(name, head.Number, i))
		if err != nil {
			return nil, fmt.Errorf("reading chunk %d of crl %d of %s: %w", i, head.Number, name, err)
		}
		body = append(body, chunk...)
	}
	digest := sha256.Sum256(body)
	if len(body) != head.Size || !bytes.Equal(digest[:], head.SHA256) {
		return nil, fmt.Errorf("reading crl %d of %s: %w", head.Number, name, errTorn)
	}
	return body, nil
}

// write makes an edition the stored one. The order is what keeps a reader from
// seeing a mix: a number is used for one body only, and a head is written only
// when its body is whole.
func (s *Service) write(ctx context.Context, name string, e *edition) error {
	index := 0
	for chunk := range slices.Chunk(e.body, kv.MaxValue) {
		// A crash here leaves chunks that no head names: the old list stays, and the
		// next rebuild removes them.
		if err := s.config.Store.Put(ctx, chunkKey(name, e.head.Number, index), chunk); err != nil {
			return fmt.Errorf("writing chunk %d of crl %d of %s: %w", index, e.head.Number, name, err)
		}
		index++
	}
	// A crash here is the same. A Put whose answer is lost may have taken effect: the
	// new list is whole, so either outcome is right, and the next rebuild looks.
	return s.heads.Put(ctx, name, &e.head)
	// A crash after it leaves the chunks of the old list, which the next rebuild
	// removes.
}

// removeChunks deletes a body whose number of chunks is known.
func (s *Service) removeChunks(ctx context.Context, name string, head Head) error {
	for i := range head.Chunks {
		if err := s.config.Store.Delete(ctx, chunkKey(name, head.Number, i)); err != nil {
			return fmt.Errorf("deleting chunk %d of crl %d of %s: %w", i, head.Number, name, err)
		}
	}
	return nil
}

// leftovers returns the numbers of all bodies that storage holds of a list,
// whole or not. It lists two bodies in the normal case.
func (s *Service) leftovers(ctx context.Context, name string) ([]int64, error) {
	names, err := s.config.Store.List(ctx, bodyPrefix(name))
	if err != nil {
		return nil, fmt.Errorf("listing %s: %w", bodyPrefix(name), err)
	}
	var numbers []int64
	for _, name := range names {
		if number, err := strconv.ParseInt(strings.TrimSuffix(name, "/"), 10, 64); err == nil {
			numbers = append(numbers, number)
		}
	}
	return numbers, nil
}

// sweep deletes every body of a list but the one that the head names.
func (s *Service) sweep(ctx context.Context, name string, numbers []int64, keep int64) error {
	for _, number := range numbers {
		if number == keep {
			continue
		}
		folder := bodyPrefix(name) + strconv.FormatInt(number, 10) + "/"
		names, err := s.config.Store.List(ctx, folder)
		if err != nil {
			return fmt.Errorf("listing %s: %w", folder, err)
		}
		for _, name := range names {
			if err := s.config.Store.Delete(ctx, folder+name); err != nil {
				return fmt.Errorf("deleting %s%s: %w", folder, name, err)
			}
		}
	}
	return nil
}
