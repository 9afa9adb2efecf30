package signer

import (
	"context"
	"time"

	"vault-plugin-secrets-enterprise-pki/backend/fault"
	"vault-plugin-secrets-enterprise-pki/edge/state"
)

const (
	// inventoryRecord is the name of the record of an inventory.
	inventoryRecord = "token-keys"
	// sweepEvery is how often keys that nobody uses are looked for, sweepAgain how soon
	// after a token that could not be reached.
	sweepEvery = 24 * time.Hour
	sweepAgain = 10 * time.Minute
)

// inventory names the keys that outlive the process, by their references, with the ids
// of the issuers that they were made for. It is on disk before a key is made, and until
// the key is destroyed: so a key that a killed process left is found without searching
// the token, where other edges may have keys under the same name.
type inventory struct {
	keys map[string]string // nil: not read yet
	due  time.Time         // when to sweep next
}

// inventoried returns the inventory, which is read at its first use.
func (k *Keys) inventoried() map[string]string {
	if k.inventory.keys != nil {
		return k.inventory.keys
	}
	if err := k.config.Folder.Read(inventoryRecord, &k.inventory.keys); err != nil && !fault.Is(err, fault.NotFound) {
		k.config.Log.Error("the inventory of keys cannot be read: what a killed process left stays in the token", "error", err)
	}
	if k.inventory.keys == nil {
		k.inventory.keys = map[string]string{}
	}
	return k.inventory.keys
}

// announce notes a key that is about to be made. A disk that fails does not keep an
// edge from having one.
func (k *Keys) announce(reference, issuer string) {
	k.inventoried()[reference] = issuer
	k.noteInventory()
}

// destroy destroys a key and strikes it from the inventory.
func (k *Keys) destroy(ctx context.Context, reference string) error {
	if err := k.config.Store.Drop(ctx, reference); err != nil {
		return err
	}
	if _, noted := k.inventoried()[reference]; noted {
		delete(k.inventory.keys, reference)
		k.noteInventory()
	}
	return nil
}

func (k *Keys) noteInventory() {
	if err := k.config.Folder.Write(inventoryRecord, k.inventory.keys); err != nil {
		k.config.Log.Error("the inventory of keys is not on disk", "error", err)
	}
}

// sweep destroys the keys of the inventory that nobody uses: neither a signer of this
// process, nor the record of an issuer that there is, with which a process begins.
func (k *Keys) sweep(ctx context.Context, snapshot *state.Snapshot) {
	now := k.config.Now()
	if snapshot.Issuers == nil || now.Before(k.inventory.due) {
		return
	}
	k.inventory.due = now.Add(sweepEvery)
	used := k.inUse()
	for reference, issuer := range k.inventoried() {
		if used[reference] || k.recorded(snapshot, issuer, reference) {
			continue
		}
		if err := k.destroy(ctx, reference); err != nil {
			k.config.Log.Warn("a key that nobody uses stays in the token", "issuer", issuer, "retry_in", sweepAgain, "error", err)
			k.inventory.due = now.Add(sweepAgain)
			continue
		}
		k.config.Log.Info("a key that nobody uses was destroyed", "issuer", issuer)
	}
}

// inUse returns the references of the keys that sign, or did until now.
func (k *Keys) inUse() map[string]bool {
	used := map[string]bool{}
	for _, d := range *k.current.Load() {
		for ; d != nil; d = d.before {
			used[d.reference] = true
		}
	}
	return used
}

// recorded reports whether the record of an issuer that there is names a key, or may.
func (k *Keys) recorded(snapshot *state.Snapshot, issuer, reference string) bool {
	if snapshot.ByID(issuer) == nil {
		return false
	}
	var stored record
	err := k.config.Folder.Read(recordName(issuer), &stored)
	return err == nil && stored.Key == reference || fault.Is(err, fault.Unavailable)
}
