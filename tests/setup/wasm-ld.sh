#!/usr/bin/env bash
# The linker of the filter. The SDK exports an entry point for everything that a proxy can do; what an export leads to
# cannot be dropped later, because tables of functions keep it. So those exports are left out here, and the linker drops
# what only they reach.
args=()
while [ $# -gt 0 ]; do
  if [ "$1" = --export ] && [[ "$2" == proxy_on_* && "$2" != proxy_on_memory_allocate ]]; then
    shift 2
  else
    args+=("$1")
    shift
  fi
done
exec rust-lld "${args[@]}"
