# Sourced by every script: strict mode, the repository's root as working directory,
# and the few functions that they share.
# shellcheck shell=bash

set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

# The Go in PATH is the one that builds; a go.mod must not fetch another.
export GOTOOLCHAIN=local

plugin=vault-plugin-secrets-enterprise-pki

# say LINE... prints to standard error, away from what a caller captures.
say() { printf '%s\n' "$*" >&2; }

# die LINE... says why and ends the script.
die() {
	say "$(basename "$0"): $*"
	exit 1
}

# version prints the version of a build: the tag of this commit, or the coming
# release with the commit as its build metadata. Vault takes only semantic versions.
version() {
	local tag commit
	if tag=$(git describe --tags --exact-match --match 'v[0-9]*' 2>/dev/null); then
		printf '%s\n' "$tag"
		return
	fi
	commit=$(git rev-parse --short=12 HEAD 2>/dev/null) || commit=unknown
	printf 'v%s-dev+%s\n' "$(next_release)" "$commit"
}

# next_release prints the version that CHANGELOG.md is collecting changes for.
next_release() {
	sed -n 's/^## \[Unreleased\] - \([0-9.]*\)$/\1/p' CHANGELOG.md | head -n 1
}

# fingerprint FILE... prints one hash over the files and the Go version: what a
# stamp file holds to tell whether a binary was built from them.
fingerprint() { { go version && cat -- "$@"; } | sha256sum | cut -d' ' -f1; }

# in_shims COMMAND... runs it in every folder of shims/: they are modules of their own,
# which ./... does not reach.
in_shims() {
	local shim
	for shim in shims/*/; do
		(cd "$shim" && "$@") || return 1
	done
}

# vault_binary prints the Vault server to use: VAULT_BIN, bin/vault or one on PATH.
vault_binary() {
	if [ -n "${VAULT_BIN:-}" ]; then
		[ -x "$VAULT_BIN" ] || die "VAULT_BIN=$VAULT_BIN is not an executable file"
		printf '%s\n' "$VAULT_BIN"
	elif [ -x bin/vault ]; then
		printf '%s\n' "$PWD/bin/vault"
	else
		type -P vault
	fi
}

# compile FOLDER NAME ARGUMENT... runs `go build` in the folder with the arguments, each flag
# written -name=value. It shows how many packages are compiled: on a terminal as one
# line that changes, in a log as one line every PROGRESS_EVERY (60) seconds.
compile() {
	local folder=$1 label=$2 total begin=$SECONDS
	shift 2
	total=$(cd "$folder" && package_count "$@") || return 1
	(cd "$folder" && go build -v "$@" 2>&1) | packages_compiled "$label" "$total" || return 1
	say "built $label in $((SECONDS - begin)) s"
}

# package_count ARGUMENT... prints how many packages a `go build` with these arguments
# needs. Of the flags, only -tags and -mod decide that.
package_count() {
	local argument wanted=()
	for argument in "$@"; do
		case $argument in
		-tags=* | -mod=* | [!-]*) wanted+=("$argument") ;;
		esac
	done
	go list -deps "${wanted[@]}" 2> >(modules_downloaded) | wc -l
}

# modules_downloaded counts the modules that the go command says it downloads, and
# passes on all else that it says.
modules_downloaded() {
	local line count=0 last=$SECONDS
	while IFS= read -r line; do
		if [[ $line != "go: downloading "* ]]; then
			say "$line"
			continue
		fi
		count=$((count + 1))
		if [ -t 2 ]; then
			printf '\r  modules downloaded: %d ' "$count" >&2
		elif [ $((SECONDS - last)) -ge 30 ]; then
			say "  modules downloaded: $count"
			last=$SECONDS
		fi
	done
	if [ "$count" -gt 0 ] && [ -t 2 ]; then say; fi
}

# packages_compiled LABEL TOTAL shows progress by the names of packages that `go build -v`
# prints, and passes on all else that it prints. Packages in the build cache are not printed.
packages_compiled() {
	local label=$1 total=$2 line count=0 last=$SECONDS
	while IFS= read -r line; do
		if [[ ! $line =~ ^[A-Za-z0-9][A-Za-z0-9._/~-]*$ ]]; then
			say "$line"
			continue
		fi
		count=$((count + 1))
		if [ -t 2 ]; then
			printf '\r  [%-40s] %d/%d packages ' "$(bar $((40 * count / total)))" "$count" "$total" >&2
		elif [ $((SECONDS - last)) -ge "${PROGRESS_EVERY:-60}" ]; then
			say "  $label: $count of $total packages compiled"
			last=$SECONDS
		fi
	done
	if [ "$count" -gt 0 ] && [ -t 2 ]; then say; fi
}

# bar N prints N number signs.
bar() { [ "$1" -lt 1 ] || printf '#%.0s' $(seq "$1"); }

# free_port prints a TCP port of the loopback address that nobody listens on now.
free_port() {
	local port
	for port in $(shuf -i 20000-32000 -n 50); do
		if ! (: <"/dev/tcp/127.0.0.1/$port") 2>/dev/null; then
			printf '%s\n' "$port"
			return
		fi
	done
	die "no free port found between 20000 and 32000"
}
