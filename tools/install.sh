#!/usr/bin/env bash
# Installs the real servers of `make e2e` into .tools/bin, which git ignores. A tool that is there at the version pinned
# in tools/versions.env is left alone. Needs Go for the Collector and MinIO, apt for Prometheus; needs no root, starts nothing.
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

if [[ $# -eq 0 ]]; then set -- otelcol prometheus minio; fi
for tool in "$@"; do
    case $tool in
        otelcol | prometheus | minio) "install_$tool" ;;
        *) echo "tools: no such tool: $tool (otelcol, prometheus, minio)" >&2; exit 2 ;;
    esac
done
