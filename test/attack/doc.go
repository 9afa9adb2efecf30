// Package attack promises that the engine refuses what an attacker would send: each
// row of docs/security.md is tried as whole requests, through the paths, by every
// door that leads to the same power, in process and across the plugin boundary.
package attack
