// Package e2e promises that the engine works where it is used: in a real Vault
// server, with real tokens, asked by the clients and checked by the tools that its
// users have. It holds tests alone.
package e2e
