#!/usr/bin/env bash
# What the setup scripts share; they source it. Third-party pieces go whole into one cache outside the checkout, and
# .deps in the checkout points at them.
# A failure inside $(..) is a failure.
set -euo pipefail
shopt -s inherit_errexit
unset CDPATH

here="$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)"
root="$(cd "$here/../.." && pwd)"
# .deps is the one place where the checkout points at the cache; .cargo/config.toml, the Makefile and the tests look there.
deps="$root/.deps"
cache="${SERIN_CACHE:-$HOME/.cache/serin}"
mkdir -p -- "$cache" "$deps"
# A link to a relative path would be read from the link's own folder.
cache="$(cd -- "$cache" && pwd)"

step() { printf 'setup: %s\n' "$*" >&2; }
fail() { step "$*"; exit 1; }
need() { command -v "$1" >/dev/null || fail "'$1' is not on PATH: $2"; }

work=
trap '[ -z "$work" ] || rm -rf -- "$work"' EXIT

# Two setups at once: the second waits, and must look again at what is there by then.
lock() {
  need flock "install util-linux"
  exec 9>"$cache/.lock"
  flock --nonblock 9 || { step "another setup fills the cache, waiting for it"; flock 9; }
}
unlock() { exec 9>&-; }

# fetch FOLDER FILE WHAT MAKE: the folder FOLDER of the cache, which is complete when FILE is in it. MAKE fills
# $work/out. It is built aside and renamed, so an interrupted download never looks finished.
fetch() {
  local target="$cache/$1" file="$2" what="$3" make="$4"
  [ -e "$target/$file" ] && return
  lock
  if [ ! -e "$target/$file" ]; then
    step "$what"
    # Under the lock nobody else is at work: these are what a killed setup left.
    rm -rf -- "$cache"/.part.*
    work="$(mktemp -d "$cache/.part.XXXXXX")"
    mkdir "$work/out"
    # Without the lock: a daemon that a compiler wrapper leaves behind must not hold it.
    "$make" 9>&-
    [ -e "$work/out/$file" ] || fail "no '$file' came out of it: the package has changed its layout"
    rm -rf -- "$target"
    mv -- "$work/out" "$target"
    rm -rf -- "$work"
    work=
  fi
  unlock
}

# own VARIABLE: the path in a variable that overrides what would be fetched; nothing when it is not set.
own() {
  local path="${!1:-}"
  [ -n "$path" ] || return 0
  [[ "$path" == /* ]] || fail "$1 must be an absolute path, because cargo runs in several folders; it is '$path'"
  realpath -e -- "$path" >/dev/null 2>&1 || fail "$1 names '$path', which is not there"
  printf '%s' "$path"
}

own_program() {
  local path
  path="$(own "$1")"
  [ -z "$path" ] || [[ -f "$path" && -x "$path" ]] || fail "$1 names '$path', which is not a program"
  printf '%s' "$path"
}

# point NAME PATH. A path that leads here already stays as it is: a link to itself would lead nowhere.
point() { [ "$deps/$1" -ef "$2" ] || ln -sfn -- "$2" "$deps/$1"; }
