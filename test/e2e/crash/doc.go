// Package crash promises that nothing which the engine acknowledged is lost when
// processes are killed for real, with SIGKILL and under load: the plugin, a Vault
// server on raft storage, the active node of a cluster and the next one after it. It
// holds tests alone.
//
// Clients write down every certificate that they received and every revocation that
// was acknowledged; watchers ask for OCSP answers and CRLs all the while. When
// everything runs again, the books are held against what the engine says, and fsck
// looks at storage. A request that was answered with an error, or not at all, may have
// happened or not; one that Vault carried out twice made two certificates, and both
// count.
//
// docs/design/planted-bugs.md says which mistakes these tests were seen to catch.
package crash
