#!/usr/bin/env bash
# Gets a real control plane into .deps/cluster: kube-apiserver, etcd, kubectl, istiod and the CRDs of others. Each is
# the user's own where there is one (KUBEBUILDER_ASSETS, ISTIOD, CLUSTER_CRDS, PATH), else built here from its Go module,
# once, into the cache. Idempotent and silent where all is there.
# Usage: cluster.sh [all|tests|flagger]. Ends with 3 where Go is missing; tests: without a word. flagger: only that,
# into .deps/flagger, and its resource definitions, for a benchmark.
source "$(dirname "${BASH_SOURCE[0]}")/cache.sh"
mode="${1:-all}"

kubernetes_version=1.35.4
etcd_version=3.6.5
istio_version=0.0.0-20260423205519-b01690e6db7d
# Of these the versions that Istio asks for are not published, all of them; these are the nearest that are.
istio_replaces=(
  "istio.io/client-go => istio.io/client-go v1.30.0-beta.0"
  "istio.io/api => istio.io/api v1.30.0-alpha.1.0.20260415171154-7fa57afdea51"
  "github.com/envoyproxy/go-control-plane/contrib => github.com/envoyproxy/go-control-plane/contrib v1.36.1-0.20260729145720-a2d8c7492908"
)
flagger_version=1.36.1
# MODULE@VERSION FILE..., for each module whose CRDs the cluster has. A file may be a pattern.
crds=(
  "istio.io/istio@v$istio_version manifests/charts/base/files/crd-all.gen.yaml"
  "github.com/prometheus-operator/prometheus-operator@v0.85.0 example/prometheus-operator-crd/monitoring.coreos.com_podmonitors.yaml example/prometheus-operator-crd/monitoring.coreos.com_servicemonitors.yaml example/prometheus-operator-crd/monitoring.coreos.com_prometheusrules.yaml"
  "github.com/kedacore/keda/v2@v2.21.0 config/crd/bases/keda.sh_scaledobjects.yaml"
  "github.com/kserve/kserve@v0.17.0 config/crd/full/serving.kserve.io_clusterservingruntimes.yaml config/crd/full/serving.kserve.io_inferenceservices.yaml"
)
way_out="install Go 1.25 or newer (https://go.dev/dl) and run 'make setup-cluster', or set KUBEBUILDER_ASSETS, ISTIOD and CLUSTER_CRDS to what you have"

sha_of() { printf '%s\n' "$@" | sha256sum | cut -c1-8; }

# fetch_by_go FOLDER FILE WHAT MAKE: fetch, where Go is to make it.
no_go() { [ "$mode" = tests ] || step "there is no Go: $way_out"; exit 3; }
fetch_by_go() {
  [ -e "$cache/$1/$2" ] || command -v go >/dev/null || no_go
  fetch "$@"
}

# go, with the sources in the user's own module cache but nothing compiled kept: that would be gigabytes.
compile() { # compile ARGUMENT...
  GOFLAGS="-mod=mod -modcacherw -trimpath -buildvcs=false" CGO_ENABLED=0 GOCACHE="$work/go-build" nice -n 10 go "$@" >&2
}

# download MODULE@VERSION FIELD: what `go mod download` says of a module (Dir: where its files are, GoMod: its go.mod).
download() {
  local said
  said="$(cd / && GOFLAGS=-modcacherw go mod download -json "$1")" \
    || fail "Go could not download $1 (see above); a module proxy that has it must be reachable"
  sed -n "s/^[[:space:]]*\"$2\": \"\(.*\)\",*$/\1/p" <<<"$said"
}

# wrapper MODULE@VERSION REPLACE...: a module in $work/wrapper that requires another, because `go install` refuses those
# whose go.mod replaces something.
wrapper() {
  local module="$1" replace
  shift
  mkdir -p "$work/wrapper"
  {
    printf 'module serin.test/wrapper\n\ngo 1.25\n\nrequire %s %s\n\n' "${module%@*}" "${module#*@}"
    for replace in "$@"; do printf 'replace %s\n' "$replace"; done
  } >"$work/wrapper/go.mod"
}

build() { # build PACKAGE PROGRAM FLAG...
  local package="$1" program="$2"
  shift 2
  (cd "$work/wrapper" && compile build "$@" -o "$work/out/$program" "$package")
}

# Without these values the programs call themselves v0.0.0 and clients balk.
make_kubernetes() { # make_kubernetes PROGRAM
  local module="k8s.io/kubernetes@v$kubernetes_version" mod minor staged="v0.${kubernetes_version#*.}" replaces
  mod="$(download "$module" GoMod)"
  minor="${kubernetes_version#*.}"
  minor="${minor%%.*}"
  mapfile -t replaces < <(sed -nE "s#^[[:space:]]*(replace )?(k8s.io/[^ ]+) => ./staging/.*#\2 => \2 $staged#p" "$mod")
  wrapper "$module" "${replaces[@]}"
  build "k8s.io/kubernetes/cmd/$1" "$1" -ldflags "-s -w -X k8s.io/component-base/version.gitVersion=v$kubernetes_version \
    -X k8s.io/component-base/version.gitMajor=${kubernetes_version%%.*} -X k8s.io/component-base/version.gitMinor=$minor"
}
make_apiserver() { make_kubernetes kube-apiserver; }
make_kubectl() { make_kubernetes kubectl; }

make_etcd() {
  wrapper "go.etcd.io/etcd/server/v3@v$etcd_version"
  build go.etcd.io/etcd/server/v3 etcd -ldflags "-s -w"
}

make_istiod() {
  local module="istio.io/istio@v$istio_version" sources
  sources="$(download "$module" Dir)"
  wrapper "$module" "${istio_replaces[@]}"
  # Go's checksum database does not know one of the dependencies; Istio's own list does.
  install -m 644 "$sources/go.sum" "$work/wrapper/go.sum"
  build istio.io/istio/pilot/cmd/pilot-discovery istiod -ldflags "-s -w"
}

make_flagger() {
  wrapper "github.com/fluxcd/flagger@v$flagger_version"
  build github.com/fluxcd/flagger/cmd/flagger flagger -ldflags "-s -w"
}

make_flagger_crds() {
  local sources
  sources="$(download "github.com/fluxcd/flagger@v$flagger_version" Dir)"
  install -m 644 "$sources/artifacts/flagger/crd.yaml" "$work/out/flagger-crds.yaml"
}

make_crds() {
  local line module file folder
  for line in "${crds[@]}"; do
    read -r module file <<<"$line"
    folder="$(download "$module" Dir)"
    for file in $file; do
      [ -f "$folder/$file" ] || fail "$module has no '$file': the module has changed its layout"
      install -m 644 "$folder/$file" "$work/out/"
    done
  done
  touch "$work/out/.complete"
}

# found NAME: a program of the user's own: of KUBEBUILDER_ASSETS, which must then have it, or on PATH; else nothing.
found() {
  local assets
  assets="$(own KUBEBUILDER_ASSETS)"
  if [ -n "$assets" ]; then
    [ -x "$assets/$1" ] || fail "KUBEBUILDER_ASSETS names '$assets', which has no program '$1'"
    printf '%s' "$assets/$1"
  else
    type -P "$1" || true
  fi
}

# program NAME VERSION MAKE MINUTES
program() {
  local path
  path="$(found "$1")"
  if [ -z "$path" ]; then
    fetch_by_go "$1-$2" "$1" "$1 $2 (compiled here, about $4 min)" "$3"
    path="$cache/$1-$2/$1"
  fi
  point "cluster/$1" "$path"
}

istiod() {
  local path folder
  path="$(own_program ISTIOD)"
  [ -n "$path" ] || path="$(type -P pilot-discovery || true)"
  if [ -z "$path" ]; then
    folder="istiod-$istio_version-$(sha_of "${istio_replaces[@]}")"
    fetch_by_go "$folder" istiod "istiod $istio_version (compiled here, about 5 min)" make_istiod
    path="$cache/$folder/istiod"
  fi
  point cluster/istiod "$path"
}

other_crds() {
  local path folder
  path="$(own CLUSTER_CRDS)"
  if [ -z "$path" ]; then
    folder="crds-$(sha_of "${crds[@]}")"
    fetch_by_go "$folder" .complete "CRDs of Istio, of the Prometheus operator, of KEDA and of KServe" make_crds
    path="$cache/$folder"
  fi
  point cluster/crds "$path"
}

all() {
  mkdir -p -- "$deps/cluster"
  program kube-apiserver "$kubernetes_version" make_apiserver 5
  program etcd "$etcd_version" make_etcd 1
  program kubectl "$kubernetes_version" make_kubectl 2
  istiod
  other_crds
}

flagger() {
  local folder="flagger-$flagger_version"
  fetch_by_go "$folder" flagger "Flagger $flagger_version (compiled here, about 3 min)" make_flagger
  point flagger "$cache/$folder/flagger"
  fetch_by_go "flagger-crds-$flagger_version" flagger-crds.yaml "resource definitions of Flagger" make_flagger_crds
  point flagger-crds.yaml "$cache/flagger-crds-$flagger_version/flagger-crds.yaml"
}

case "$mode" in
  all | tests) all ;;
  flagger) flagger ;;
  *) fail "unknown argument '$mode': use all, tests or flagger" ;;
esac
