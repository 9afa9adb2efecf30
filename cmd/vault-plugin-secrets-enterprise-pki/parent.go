package main

import "time"

// watchParent calls orphaned when the process that started this one is gone. When
// Vault is killed nothing else ends the plugin: it would hold its tokens' sessions
// for ever, and a new Vault starts a new plugin beside it.
func watchParent(parent func() int, tick <-chan time.Time, orphaned func()) {
	vault := parent()
	for range tick {
		if parent() != vault {
			orphaned()
			return
		}
	}
}
