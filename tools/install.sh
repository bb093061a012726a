#!/usr/bin/env bash
# Installs the real servers and tools of `make e2e`, `make chart` and `make image` into .tools/bin, which git ignores. A
# tool that is there at the version pinned in tools/versions.env is left alone. Needs Go, and apt for Prometheus; starts
# nothing. Only `packages` (Chromium, buildah, debootstrap: whole systems) installs into the machine, which needs root.
#
#   tools/install.sh              all of them
#   tools/install.sh prometheus   one of them
set -euo pipefail
cd "$(dirname "$0")/.."

root=$PWD
tools=$root/.tools
bin=$tools/bin
mkdir -p "$bin"
# shellcheck source=versions.env
source tools/versions.env

# have PROGRAM COMMAND ON ITS PACKAGE: a clear word instead of "command not found".
have() {
    command -v "$1" >/dev/null || { echo "tools: $1 is not on this machine: $2" >&2; return 1; }
}

# stamped NAME FINGERPRINT: whether NAME was installed from just this.
stamped() {
    [[ -x $bin/$1 && -f $tools/$1.stamp && $(<"$tools/$1.stamp") == "$2" ]]
}

done_in() {
    echo "$1: installed in $((SECONDS - $2)) s"
}

install_otelcol() {
    local fingerprint began=$SECONDS work=$tools/otelcol
    fingerprint="$OTELCOL_VERSION $(sha256sum <tools/collector-builder.yaml | cut -c1-16)"
    if stamped otelcol "$fingerprint"; then echo "otelcol $OTELCOL_VERSION: already here"; return; fi
    have go "it compiles the Collector from the Go module proxy" || return 1
    echo "otelcol $OTELCOL_VERSION: building, a minute or two"
    rm -rf "$work" "$tools/otelcol.stamp"
    mkdir -p "$work"
    GOBIN=$work go install "go.opentelemetry.io/collector/cmd/builder@v$OTELCOL_VERSION"
    sed -e "s|\${OTELCOL_VERSION}|$OTELCOL_VERSION|" -e "s|\${OTELCOL_STABLE_VERSION}|$OTELCOL_STABLE_VERSION|" \
        -e "s|\${OUTPUT}|$work/build|" tools/collector-builder.yaml >"$work/manifest.yaml"
    if ! CGO_ENABLED=0 "$work/builder" --config "$work/manifest.yaml" >"$work/build.log" 2>&1; then
        tail -n 30 "$work/build.log" >&2
        return 1
    fi
    mv "$work/build/otelcol" "$bin/otelcol"
    rm -rf "$work"
    echo "$fingerprint" >"$tools/otelcol.stamp"
    done_in "otelcol $OTELCOL_VERSION" "$began"
}

install_prometheus() {
    local began=$SECONDS work=$tools/prometheus
    if stamped prometheus "$PROMETHEUS_VERSION"; then echo "prometheus $PROMETHEUS_VERSION: already here"; return; fi
    have apt-get "the Debian package brings Prometheus and promtool" || return 1
    have dpkg-deb "the Debian package brings Prometheus and promtool" || return 1
    rm -rf "$work" "$tools/prometheus.stamp"
    mkdir -p "$work/lists/partial" "$work/cache/archives/partial"
    # The package is fetched and unpacked here, not installed: no root, no service, nothing outside this folder.
    local apt=(apt-get -qq -o "Dir::State::lists=$work/lists" -o "Dir::Cache=$work/cache")
    if [[ $EUID -eq 0 ]]; then apt+=(-o APT::Sandbox::User=root); fi
    "${apt[@]}" update
    (cd "$work" && "${apt[@]}" download "prometheus=$PROMETHEUS_VERSION*")
    dpkg-deb --extract "$work"/prometheus_*.deb "$work/root"
    mv "$work/root/usr/bin/prometheus" "$work/root/usr/bin/promtool" "$bin/"
    rm -rf "$work"
    "$bin/prometheus" --version 2>&1 | grep -qF "version $PROMETHEUS_VERSION" ||
        { echo "tools: the package is not Prometheus $PROMETHEUS_VERSION" >&2; return 1; }
    echo "$PROMETHEUS_VERSION" >"$tools/prometheus.stamp"
    done_in "prometheus $PROMETHEUS_VERSION" "$began"
}

install_minio() {
    local began=$SECONDS work=$tools/minio
    if stamped minio "$MINIO_VERSION"; then echo "minio $MINIO_VERSION: already here"; return; fi
    have go "it compiles MinIO from the Go module proxy" || return 1
    echo "minio $MINIO_VERSION: building, some minutes"
    rm -rf "$work" "$tools/minio.stamp"
    mkdir -p "$work"
    if ! CGO_ENABLED=0 GOBIN=$work go install -trimpath -ldflags '-s -w' "github.com/minio/minio@v$MINIO_VERSION" \
        >"$work/build.log" 2>&1; then
        tail -n 30 "$work/build.log" >&2
        return 1
    fi
    mv "$work/minio" "$bin/minio"
    rm -rf "$work"
    echo "$MINIO_VERSION" >"$tools/minio.stamp"
    done_in "minio $MINIO_VERSION" "$began"
}

# go_install NAME VERSION MODULE@VERSION: one program out of the Go module proxy.
go_install() {
    local name=$1 version=$2 module=$3 began=$SECONDS
    if stamped "$name" "$version"; then echo "$name $version: already here"; return; fi
    have go "it compiles $name from the Go module proxy" || return 1
    rm -f "$tools/$name.stamp"
    if ! CGO_ENABLED=0 GOBIN=$bin go install -trimpath -ldflags '-s -w' "$module" >"$tools/$name.log" 2>&1; then
        tail -n 30 "$tools/$name.log" >&2
        return 1
    fi
    rm -f "$tools/$name.log"
    echo "$version" >"$tools/$name.stamp"
    done_in "$name $version" "$began"
}

install_helm() { go_install helm "$HELM_VERSION" "helm.sh/helm/v3/cmd/helm@v$HELM_VERSION"; }

install_kubeconform() {
    go_install kubeconform "$KUBECONFORM_VERSION" "github.com/yannh/kubeconform/cmd/kubeconform@v$KUBECONFORM_VERSION"
}

install_kustomize() {
    go_install kustomize "$KUSTOMIZE_VERSION" "sigs.k8s.io/kustomize/kustomize/v5@v$KUSTOMIZE_VERSION"
}

# Loki's own parser of LogQL behind a few lines of ours (tools/logql). A module that is required does not bring its
# `replace` lines along, so the two that its build needs are given again.
install_logql() {
    local fingerprint began=$SECONDS work=$tools/logql
    fingerprint="$LOKI_VERSION $(sha256sum <tools/logql/main.go | cut -c1-16)"
    if stamped logql "$fingerprint"; then echo "logql of Loki $LOKI_VERSION: already here"; return; fi
    have go "it compiles Loki's parser from the Go module proxy" || return 1
    echo "logql of Loki $LOKI_VERSION: building, a minute or two"
    rm -rf "$work" "$tools/logql.stamp"
    mkdir -p "$work"
    cp tools/logql/main.go "$work/"
    if ! (
        cd "$work"
        go mod init logql
        go mod edit -require="github.com/grafana/loki/v3@v$LOKI_VERSION" \
            -replace="github.com/hashicorp/memberlist=github.com/grafana/memberlist@v$LOKI_MEMBERLIST_VERSION" \
            -replace="github.com/grafana/regexp=github.com/grafana/regexp@v$LOKI_REGEXP_VERSION"
        CGO_ENABLED=0 go build -mod=mod -trimpath -ldflags '-s -w' -o "$bin/logql" .
    ) >"$work/build.log" 2>&1; then
        tail -n 30 "$work/build.log" >&2
        return 1
    fi
    rm -rf "$work"
    echo "$fingerprint" >"$tools/logql.stamp"
    done_in "logql of Loki $LOKI_VERSION" "$began"
}

install_packages() {
    local began=$SECONDS package missing=()
    for package in chromium buildah debootstrap; do
        PATH=$PATH:/usr/sbin command -v "$package" >/dev/null || missing+=("$package")
    done
    if [[ ${#missing[@]} -eq 0 ]]; then echo "chromium, buildah, debootstrap: already here"; return; fi
    if [[ $EUID -ne 0 ]] || ! command -v apt-get >/dev/null; then
        echo "tools: not on this machine, and only root on Debian can have them installed here: ${missing[*]};" \
            "what needs them will say so" >&2
        return
    fi
    apt-get -qq update
    DEBIAN_FRONTEND=noninteractive apt-get -qq install --yes "${missing[@]}" >"$tools/apt.log" 2>&1 ||
        { tail -n 20 "$tools/apt.log" >&2; return 1; }
    rm -f "$tools/apt.log"
    done_in "${missing[*]}" "$began"
}

all=(otelcol prometheus minio helm kubeconform kustomize logql packages)
if [[ $# -eq 0 ]]; then set -- "${all[@]}"; fi
for tool in "$@"; do
    if [[ " ${all[*]} " != *" $tool "* ]]; then echo "tools: no such tool: $tool (${all[*]})" >&2; exit 2; fi
    "install_$tool"
done
