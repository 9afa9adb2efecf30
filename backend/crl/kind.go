package crl

import (
	"strconv"
	"strings"

	"vault-plugin-secrets-enterprise-pki/backend/cert"
	"vault-plugin-secrets-enterprise-pki/backend/fault"
)

// Kind says which of an issuer's lists one is: Complete, Delta, or a shard, COUNT-INDEX.
// The shard 8-3 covers the certificates whose serial number modulo 8 is 3: a set that
// stays what it is when the number of shards is changed.
type Kind string

// The kinds that are not shards.
const (
	Complete Kind = "complete"
	Delta    Kind = "delta"
)

// allShards is the agenda of all shards of an issuer, which are rebuilt together. There
// is no list of that name.
const allShards Kind = "shards"

// MaxShards is the largest number of shards.
const MaxShards = 128

// ShardKind returns the kind of one shard of count.
func ShardKind(count, index int) Kind {
	return Kind(strconv.Itoa(count) + "-" + strconv.Itoa(index))
}

// ParseKind reads a Kind: Invalid unless it is spelled as Kind says.
func ParseKind(text string) (Kind, error) {
	kind := Kind(text)
	if _, _, ok := kind.shard(); ok || kind == Complete || kind == Delta {
		return kind, nil
	}
	return "", fault.Field("kind", "must be complete, delta or a shard such as 8-3")
}

// shard returns which shard the kind is of how many.
func (k Kind) shard() (count, index int, ok bool) {
	left, right, _ := strings.Cut(string(k), "-")
	count, err := strconv.Atoi(left)
	if err != nil || count < 1 || count > MaxShards {
		return 0, 0, false
	}
	index, err = strconv.Atoi(right)
	if err != nil || index < 0 || index >= count || ShardKind(count, index) != k {
		return 0, 0, false
	}
	return count, index, true
}

// IsShard reports whether the list is a shard.
func (k Kind) IsShard() bool {
	_, _, ok := k.shard()
	return ok
}

// shardOf returns which of count shards covers a serial number: the number modulo count.
func shardOf(serial cert.Serial, count int) int {
	rest := 0
	for _, octet := range []byte(serial) {
		rest = (rest<<8 | int(octet)) % count
	}
	return rest
}

// listName is the name of a list in storage and in memory. Ids of issuers have no dot.
func listName(issuer string, kind Kind) string {
	if kind == Complete {
		return issuer
	}
	return issuer + "." + string(kind)
}

// SplitName returns the issuer and the kind of the list that a storage key names.
func SplitName(name string) (issuer string, kind Kind) {
	if issuer, text, found := strings.Cut(name, "."); found {
		return issuer, Kind(text)
	}
	return name, Complete
}
