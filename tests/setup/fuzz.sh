#!/usr/bin/env bash
# Fuzzes what strangers write, with libFuzzer. Usage: fuzz.sh [SECONDS] [TARGET...]; each target (all of them without a
# name) runs for SECONDS (300). Ends with 1 when one finds something, and says where the input is.
# What a run learns stays in target/fuzz/corpus and is taken up by the next; only seeds and findings are committed.
set -euo pipefail
unset CDPATH
cd "$(dirname "${BASH_SOURCE[0]}")/../.."
crates=(filter/core/fuzz serving/fuzz)
out=target/fuzz

fail() { echo "fuzz: $*" >&2; exit 2; }
seconds="${1:-300}"
[[ "$seconds" =~ ^[1-9][0-9]*$ ]] || fail "'$seconds' is no number of seconds: give the seconds first, then the targets"
[ $# -eq 0 ] || shift
all() { local crate; for crate in "${crates[@]}"; do ls "$crate/corpus"; done; }
# No two crates have a target of the same name.
crate_of() { local crate; for crate in "${crates[@]}"; do [ ! -d "$crate/corpus/$1" ] || { echo "$crate"; return; }; done; }
[ $# -gt 0 ] || { mapfile -t every < <(all); set -- "${every[@]}"; }
for target in "$@"; do
  [ -n "$(crate_of "$target")" ] || fail "there is no target '$target': take one of $(all | paste -sd ' ')"
done

# What cargo-fuzz sets, but for the sanitizers: those need a nightly compiler, and what is fuzzed has nothing unsafe.
flags=(
  -Cpasses=sancov-module -Cllvm-args=-sanitizer-coverage-level=4 -Cllvm-args=-sanitizer-coverage-inline-8bit-counters
  -Cllvm-args=-sanitizer-coverage-pc-table -Cllvm-args=-sanitizer-coverage-trace-compares
  -Clink-dead-code -Ccodegen-units=1 --cfg fuzzing
)
# The target is named so that build scripts and macros, which run here without a fuzzer, go without those flags.
host="$(rustc -vV | sed -n 's/^host: //p')"
for crate in "${crates[@]}"; do
  for target in "$@"; do
    [ "$(crate_of "$target")" = "$crate" ] || continue
    # Serving links libtorch, though no target calls it.
    [ "$crate" != serving/fuzz ] || tests/setup/setup.sh all
    RUSTFLAGS="${flags[*]}" cargo build --manifest-path "$crate/Cargo.toml" --target-dir "$out" --target "$host" \
      --release --bins
    break
  done
done

found=0
mkdir -p "$out/findings"
for target in "$@"; do
  crate="$(crate_of "$target")"
  mkdir -p "$out/corpus/$target"
  log="$out/$target.log"
  echo "fuzz: $target, $seconds s"
  # Inputs beyond the cap of a token (16 KiB) must be reached. One that takes seconds is a finding: all is linear.
  if RUST_BACKTRACE=0 "$out/$host/release/$target" "$out/corpus/$target" "$crate/corpus/$target" -max_total_time="$seconds" \
    -max_len=32768 -timeout=5 -rss_limit_mb=2048 -artifact_prefix="$out/findings/$target-" -print_final_stats=1 \
    >"$log" 2>&1; then
    grep -E '^#[0-9]+[[:space:]]+(INITED|DONE)' "$log"
  else
    found=1
    grep -vE '^#[0-9]+[[:space:]]' "$log" | tail -n 40 >&2
    input="$(sed -n 's/.*Test unit written to //p' "$log" | tail -n 1)"
    echo "fuzz: $target FAILED; the whole log is $log" >&2
    [ -z "$input" ] || echo "fuzz: the input is $input; mend it, and commit it as a file of $crate/corpus/$target" >&2
  fi
done
exit "$found"
