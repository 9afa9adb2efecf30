# Sourced by dev and demo: a Vault dev server with the engine registered, SoftHSM
# tokens of its own, all in one temporary folder, ended with the script.
# shellcheck shell=bash

workdir=
server=

# start_server ADDRESS starts it; VAULT_ADDR, VAULT_TOKEN and SOFTHSM2_CONF are
# exported, the `vault` function runs its CLI.
start_server() {
	local address=$1
	vault_path=$(vault_binary) || die "no Vault server: run make vault"
	mkdir -p "$workdir/plugins" "$workdir/tokens" "$workdir/home"
	cp "bin/$plugin" "$workdir/plugins/"
	printf 'directories.tokendir = %s\nobjectstore.backend = file\nlog.level = ERROR\n' "$workdir/tokens" >"$workdir/softhsm2.conf"
	export SOFTHSM2_CONF=$workdir/softhsm2.conf
	PKI_PKCS11_MODULES=$(softhsm_module)
	export PKI_PKCS11_MODULES
	export VAULT_ADDR=http://$address VAULT_TOKEN=root
	unset VAULT_NAMESPACE VAULT_CACERT VAULT_CAPATH
	HOME=$workdir/home "$vault_path" server -dev -dev-no-store-token -dev-root-token-id=root \
		-dev-listen-address="$address" -dev-plugin-dir="$workdir/plugins" >"$workdir/vault.log" 2>&1 &
	server=$!
	export VAULT_PID=$server
	await_server
	vault plugin register -sha256="$(sha256sum "bin/$plugin" | cut -d' ' -f1)" \
		-command="$plugin" secret enterprise-pki >/dev/null
}

# await_server waits until the server answers, or ends the script with its log.
await_server() {
	local try
	for try in $(seq 1 100); do
		if curl -fs -o /dev/null "$VAULT_ADDR/v1/sys/health"; then
			return
		fi
		kill -0 "$server" 2>/dev/null || break
		sleep 0.1
	done
	tail -n 20 "$workdir/vault.log" >&2
	die "the Vault server did not start (asked $try times)"
}

# stop_server ends the server by its process id and removes the folder.
stop_server() {
	if [ -n "$server" ]; then
		kill "$server" 2>/dev/null || true
		wait "$server" 2>/dev/null || true
		server=
	fi
	[ -z "$workdir" ] || rm -rf "$workdir"
}

# vault runs the CLI of the server that was started.
vault() { "$vault_path" "$@"; }

# new_token LABEL PIN makes a SoftHSM token.
new_token() {
	softhsm2-util --init-token --free --label "$1" --pin "$2" --so-pin "so-$2" >/dev/null
}

# mount_for_development mounts the engine at pki/ and makes a token with label "dev".
mount_for_development() {
	new_token dev 1234
	vault secrets enable -path=pki -max-lease-ttl=87600h enterprise-pki >/dev/null
}

# softhsm_module prints the path of SoftHSM's PKCS#11 library.
softhsm_module() {
	local path
	for path in /usr/lib/softhsm/libsofthsm2.so /usr/lib/*/softhsm/libsofthsm2.so \
		/usr/lib64/pkcs11/libsofthsm2.so /usr/local/lib/softhsm/libsofthsm2.so; do
		if [ -e "$path" ]; then
			printf '%s\n' "$path"
			return
		fi
	done
	die "libsofthsm2.so is not installed: run make deps"
}
