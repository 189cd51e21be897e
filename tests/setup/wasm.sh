#!/usr/bin/env bash
# Builds the filter, drops the exports it does not need (filter/trim), makes it smaller with binaryen's wasm-opt, and
# prints its path.
set -euo pipefail
unset CDPATH
cd "$(dirname "${BASH_SOURCE[0]}")/../.."
tests/setup/setup.sh filter
target="$(cargo metadata --no-deps --format-version 1 | sed -n 's/.*"target_directory":"\([^"]*\)".*/\1/p')"
[ -n "$target" ] || { echo "setup: cargo does not say where its target folder is" >&2; exit 1; }

# Of cargo's status lines one is told, and only when there is something to wait for.
told='
/^ +Compiling / { if (!said) { print "setup: building the filter (optimised as a whole, up to a minute)"; fflush() } said = 1; next }
/^ +(Finished|Blocking|Updating|Locking|Adding|Downloading|Downloaded) / { next }
{ print; fflush() }'
# The standard library is built along, with formatting and panics made for size: the module is 70 KiB smaller for it.
# These flags are not stable between versions of Rust, but rust-toolchain.toml pins one. A panic, of which there must be
# none, then traps without a message. A target folder of its own keeps the flags from other builds.
# Functions are inlined a little more than is best for size (which is a threshold of 5): a configuration is read faster
# by a tenth, for 4 KiB.
build() {
  RUSTC_BOOTSTRAP=1 CARGO_TARGET_WASM32_WASIP1_LINKER="$PWD/tests/setup/wasm-ld.sh" \
    RUSTFLAGS="-Zunstable-options -Cpanic=immediate-abort -Zlocation-detail=none -Zfmt-debug=none -Cllvm-args=-inline-threshold=25" \
    cargo build -p serin-filter --target wasm32-wasip1 --profile wasm --target-dir "$target/wasm" --color never \
    -Zbuild-std=std,panic_abort -Zbuild-std-features=optimize_for_size
}
build 2>&1 >/dev/null | awk "$told" >&2
cargo build --quiet -p serin-trim >&2

built="$target/wasm/wasm32-wasip1/wasm/serin_filter.wasm"
trim="$target/debug/serin-trim"
out="$target/serin-filter.wasm"
up_to_date() {
  local input
  for input in "$built" "$trim" tests/setup/setup.sh tests/setup/wasm.sh; do
    [ "$out" -nt "$input" ] || return
  done
  # The link as well as what it leads to: it is set anew when another program is meant.
  [ "$out" -nt .deps/wasm-opt ] && [ -z "$(find .deps/wasm-opt -newer "$out")" ]
}
if ! up_to_date; then
  # Aside and renamed: an Envoy that reads the file meanwhile must not see a half.
  new="$out.$$"
  trap 'rm -f -- "$new" "$new.trimmed"' EXIT
  "$trim" "$built" "$new.trimmed"
  # wasm-opt has these features off by default since version 108, and rustc uses them.
  .deps/wasm-opt -Oz --enable-bulk-memory --enable-sign-ext --enable-mutable-globals --enable-nontrapping-float-to-int \
    "$new.trimmed" -o "$new"
  rm -- "$new.trimmed"
  mv -- "$new" "$out"
fi
echo "$out"
