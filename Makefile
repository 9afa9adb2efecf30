# Thin on purpose: each target is one script, so that what it does can be read and
# run without make.

.PHONY: demo dev build unit test check bench fuzz soak planted vault docs tools deps

demo: ## the whole story on this machine: token, root, issuing CA, certificate, edge, revocation, no Vault
	@scripts/demo

dev: ## a dev server with the engine mounted at pki/, until Ctrl-C
	@scripts/dev

build: ## bin/<name> for each folder in cmd/
	@scripts/build

unit: ## tests that need no Vault server
	@scripts/unit

test: ## everything, race detector on, a real Vault server and SoftHSM tokens included
	@scripts/test

check: ## format, vet, linters, import table, generated docs, build without cgo
	@scripts/check

bench: ## the engine beside the built-in one, and its rooms; RUN, BENCH, QUICK: see scripts/bench
	@scripts/bench

fuzz: ## every fuzzer for FUZZTIME (30s)
	@scripts/fuzz

soak: ## kills plugin and Vault by chance under load for SOAK (30m), then checks that nothing is lost
	@scripts/soak

planted: ## plants the bugs of test/planted in a copy, each to be caught by the tests that its patch names
	@scripts/plant

vault: ## bin/vault for the tests, unless VAULT_BIN or PATH has one
	@scripts/vault

docs: ## write docs/reference anew
	@scripts/docs

tools: ## bin/tools: the linters, pinned in scripts/tools/go.mod
	@scripts/install-tools

deps: ## the Debian packages that all tests call; each target installs those that it needs itself
	@scripts/deps test
