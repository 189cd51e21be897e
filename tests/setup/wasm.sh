#!/usr/bin/env bash
# Builds the filter, drops the exports it does not need (filter/trim), makes it smaller where binaryen's wasm-opt is at
# hand, and prints its path.
set -euo pipefail
unset CDPATH
cd "$(dirname "${BASH_SOURCE[0]}")/../.."
target="$(cargo metadata --no-deps --format-version 1 | sed -n 's/.*"target_directory":"\([^"]*\)".*/\1/p')"
[ -n "$target" ] || { echo "setup: cargo does not say where its target folder is" >&2; exit 1; }

# Of cargo's status lines one is told, and only when there is something to wait for.
told='
/^ +Compiling / { if (!said) { print "setup: building the filter (optimised as a whole, up to a minute)"; fflush() } said = 1; next }
/^ +(Finished|Blocking|Updating|Locking|Adding|Downloading|Downloaded) / { next }
{ print; fflush() }'
cargo build -p serin-filter --target wasm32-wasip1 --profile wasm --color never 2>&1 >/dev/null | awk "$told" >&2
cargo build --quiet -p serin-trim >&2

built="$target/wasm32-wasip1/wasm/serin_filter.wasm"
trim="$target/debug/serin-trim"
out="$target/serin-filter.wasm"
if [ ! "$out" -nt "$built" ] || [ ! "$out" -nt "$trim" ]; then
  # Aside and renamed: an Envoy that reads the file meanwhile must not see a half.
  new="$out.$$"
  trap 'rm -f -- "$new" "$new.trimmed"' EXIT
  "$trim" "$built" "$new.trimmed"
  # wasm-opt has these features off by default since version 108, and rustc uses them.
  features=(--enable-bulk-memory --enable-sign-ext --enable-mutable-globals --enable-nontrapping-float-to-int)
  if command -v wasm-opt >/dev/null && ! wasm-opt -O3 "${features[@]}" "$new.trimmed" -o "$new"; then
    echo "setup: wasm-opt failed (see above): the filter stays as serin-trim made it" >&2
    rm -f -- "$new"
  fi
  [ -e "$new" ] || mv -- "$new.trimmed" "$new"
  mv -- "$new" "$out"
fi
echo "$out"
