#!/usr/bin/env bash
# Runs every test. Without Go, and where nothing of the user's own replaces what Go would build, those of the cluster are
# left out; the last line says so.
set -euo pipefail
unset CDPATH
cd "$(dirname "${BASH_SOURCE[0]}")/../.."

tests/setup/setup.sh clients
tests/setup/setup.sh redis
possible=0
tests/setup/cluster.sh tests || possible=$?
case "$possible" in 0 | 3) ;; *) exit "$possible" ;; esac

cargo test --workspace --doc --quiet
status=0
if [ "$possible" = 0 ]; then
  cargo test --workspace --all-targets --no-fail-fast || status=$?
else
  # Apart, because unit tests have modules of that name, too.
  cargo test --workspace --lib --bins --benches --examples --no-fail-fast || status=$?
  cargo test --workspace --test '*' --no-fail-fast -- --skip cluster:: || status=$?
  echo "test: the tests of the cluster (cluster::*) were LEFT OUT, because there is no Go to build kube-apiserver, etcd and istiod: install Go 1.25 or newer, or set KUBEBUILDER_ASSETS, ISTIOD and CLUSTER_CRDS to what you have, and run 'make setup-cluster'" >&2
fi
exit "$status"
