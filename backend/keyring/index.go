package keyring

import (
	"context"
	"crypto"
	"fmt"
	"maps"
	"regexp"
	"slices"
	"strings"

	"vault-plugin-secrets-enterprise-pki/backend/cert"
	"vault-plugin-secrets-enterprise-pki/backend/fault"
)

// record is a key as storage holds it.
type record struct {
	Key
	PKCS8 secret `json:"pkcs8,omitempty"` // of a storage key
}

// secret is octets that no format shows.
type secret []byte

// Format implements fmt.Formatter.
func (secret) Format(state fmt.State, _ rune) { _, _ = state.Write([]byte("[secret]")) }

// index is what storage holds, without private keys. It is immutable.
type index struct {
	keys     []*Key // ordered by id
	byID     map[string]*Key
	byName   map[string]*Key
	folded   map[string]struct{} // names in lower case: no two differ in case only
	byPublic map[cert.Fingerprint]*Key
	tokens   map[string]TokenConfig
	chosen   string // id of the default key, or what is left of one
}

// newIndex builds the index of keys and tokens.
func newIndex(keys []*Key, tokens map[string]TokenConfig, chosen string) *index {
	i := &index{
		keys:     slices.SortedFunc(slices.Values(keys), func(a, b *Key) int { return strings.Compare(a.ID, b.ID) }),
		byID:     make(map[string]*Key, len(keys)),
		byName:   make(map[string]*Key, len(keys)),
		folded:   make(map[string]struct{}, len(keys)),
		byPublic: make(map[cert.Fingerprint]*Key, len(keys)),
		tokens:   tokens,
		chosen:   chosen,
	}
	for _, key := range i.keys {
		i.byID[key.ID] = key
		i.byPublic[key.Fingerprint()] = key
		if key.Name != "" {
			i.byName[key.Name] = key
			i.folded[strings.ToLower(key.Name)] = struct{}{}
		}
	}
	return i
}

// withKey returns the index with a key added or replaced.
func (i *index) withKey(key *Key) *index {
	return newIndex(append(i.others(key.ID), key), i.tokens, i.chosen)
}

// withoutKey returns the index without a key.
func (i *index) withoutKey(id string) *index { return newIndex(i.others(id), i.tokens, i.chosen) }

// others returns the keys but one.
func (i *index) others(id string) []*Key {
	others := make([]*Key, 0, len(i.keys)+1)
	for _, key := range i.keys {
		if key.ID != id {
			others = append(others, key)
		}
	}
	return others
}

// withToken returns the index with a token added or replaced.
func (i *index) withToken(name string, config TokenConfig) *index {
	tokens := maps.Clone(i.tokens)
	tokens[name] = config
	return newIndex(i.keys, tokens, i.chosen)
}

// withoutToken returns the index without a token.
func (i *index) withoutToken(name string) *index {
	tokens := maps.Clone(i.tokens)
	delete(tokens, name)
	return newIndex(i.keys, tokens, i.chosen)
}

// find returns the key that a reference names: an id, a name or "default".
func (i *index) find(ref string) (*Key, error) {
	if ref == defaultRef {
		ref = i.chosen
	}
	if key := i.byID[ref]; key != nil {
		return key, nil
	}
	if key := i.byName[ref]; key != nil {
		return key, nil
	}
	return nil, notFound(ref)
}

// view returns the index, loading it when there is none.
func (r *Ring) view(ctx context.Context) (*index, error) {
	if i := r.index.Load(); i != nil {
		return i, nil
	}
	r.writing.Lock()
	defer r.writing.Unlock()
	return r.load(ctx)
}

// load returns the index, reading storage when there is none. The caller holds
// writing.
func (r *Ring) load(ctx context.Context) (*index, error) {
	if i := r.index.Load(); i != nil {
		return i, nil
	}
	before := r.epoch.Load()
	records, err := r.keys.All(ctx)
	if err != nil {
		return nil, fmt.Errorf("loading keys: %w", err)
	}
	tokens, err := r.tokens.All(ctx)
	if err != nil {
		return nil, fmt.Errorf("loading tokens: %w", err)
	}
	chosen, err := r.config.Get(ctx, "")
	if err != nil {
		return nil, fmt.Errorf("loading default key: %w", err)
	}
	if chosen == nil {
		chosen = &defaults{}
	}
	keys := make([]*Key, 0, len(records))
	for _, stored := range records {
		key := stored.Key // a copy: the private key does not stay in memory
		keys = append(keys, &key)
	}
	configs := make(map[string]TokenConfig, len(tokens))
	for name, config := range tokens {
		configs[name] = *config
	}
	i := newIndex(keys, configs, chosen.Default)
	r.publish(before, i)
	return i, nil
}

// publish makes an index the current one unless storage was changed by another
// node since the epoch was read.
func (r *Ring) publish(epoch uint64, i *index) {
	r.index.Store(i)
	if r.epoch.Load() != epoch {
		r.index.Store(nil)
	}
}

// change writes to storage and publishes the index that the write leads to. When
// the write fails, it may have happened or not: the index is loaded again. The
// caller holds writing.
func (r *Ring) change(ctx context.Context, write func(context.Context) error, next func(*index) *index) error {
	epoch := r.epoch.Load()
	i, err := r.load(ctx)
	if err != nil {
		return err
	}
	ctx, cancel := storing(ctx)
	defer cancel()
	if err := write(ctx); err != nil {
		r.index.Store(nil)
		return err
	}
	r.publish(epoch, next(i))
	return nil
}

// Get returns the key with an id or a name, or the default key for "default".
// NotFound when there is none.
func (r *Ring) Get(ctx context.Context, ref string) (*Key, error) {
	i, err := r.view(ctx)
	if err != nil {
		return nil, err
	}
	key, err := i.find(ref)
	if err != nil {
		return nil, err
	}
	return key.clone(), nil
}

// clone keeps callers from changing the index. The octets are shared.
func (k *Key) clone() *Key {
	copied := *k
	return &copied
}

// FindPublic returns the key that has this public key, or nil.
func (r *Ring) FindPublic(ctx context.Context, pub crypto.PublicKey) (*Key, error) {
	fingerprint, err := cert.KeyFingerprint(pub)
	if err != nil {
		return nil, err
	}
	i, err := r.view(ctx)
	if err != nil {
		return nil, err
	}
	if key := i.byPublic[fingerprint]; key != nil {
		return key.clone(), nil
	}
	return nil, nil
}

// List returns all keys, ordered by id.
func (r *Ring) List(ctx context.Context) ([]*Key, error) {
	i, err := r.view(ctx)
	if err != nil {
		return nil, err
	}
	keys := make([]*Key, 0, len(i.keys))
	for _, key := range i.keys {
		keys = append(keys, key.clone())
	}
	return keys, nil
}

// defaultRef is the reference to the default key, and so no name.
const defaultRef = "default"

// keyName is what a key may be called; idForm is what an id looks like. An id is
// no name, so that a reference means one key.
var (
	keyName = regexp.MustCompile(`^[A-Za-z0-9_]([A-Za-z0-9_.-]{0,126}[A-Za-z0-9_])?$`)
	idForm  = regexp.MustCompile(`^[0-9a-fA-F]{8}-[0-9a-fA-F]{4}-[0-9a-fA-F]{4}-[0-9a-fA-F]{4}-[0-9a-fA-F]{12}$`)
)

// checkName refuses names that are malformed or used by another key than id; ""
// is no name and always free. The caller holds writing.
func (r *Ring) checkName(i *index, name, id string) error {
	switch folded := strings.ToLower(name); {
	case name == "":
		return nil
	case folded == defaultRef:
		return fault.Field("key_name", "must not be %q, which means the default key", defaultRef)
	case !keyName.MatchString(name):
		return fault.Field("key_name", "must be 1 to 128 letters, digits, dots, hyphens or underscores and begin and end with none of dot and hyphen")
	case idForm.MatchString(name):
		return fault.Field("key_name", "must not look like a key id")
	default:
		own := i.byID[id]
		_, used := i.folded[folded]
		_, pending := r.reserved[folded]
		if pending || used && (own == nil || strings.ToLower(own.Name) != folded) {
			return fault.FieldOf(fault.Conflict, "key_name", "%q is the name of another key, perhaps in other case", name)
		}
	}
	return nil
}
