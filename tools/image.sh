#!/usr/bin/env bash
# `make image`: builds the Dockerfile for real with buildah, on a base image made by debootstrap (no registry is asked),
# then runs the result as a container runtime would and prints what was found, a line each. Needs root, buildah and
# debootstrap: without them it says so and skips, and fails where CI is set. Everything it keeps lies in .tools/.
#
#   SUITE=trixie tools/image.sh    another Debian, so another Python: bookworm has 3.11 (the default), trixie 3.13
#   NO_CACHE=1 tools/image.sh      every step anew
#   STORAGE_DRIVER=vfs tools/image.sh    layers as whole copies, where overlay mounts but does not work
set -euo pipefail
cd "$(dirname "$0")/.."

suite=${SUITE:-bookworm}
packages=python3,python3-venv,ca-certificates
store=$PWD/.tools/containers
python=.venv/bin/python
began=$SECONDS

missing=()
[[ $EUID -eq 0 ]] || missing+=("to be root")
for tool in buildah debootstrap; do command -v "$tool" >/dev/null || missing+=("$tool (a Debian package)"); done
[[ -x .venv/bin/hadolint ]] || missing+=("hadolint (\`make venv\`)")
if [[ ${#missing[@]} -gt 0 ]]; then
    echo "image: SKIPPED, nothing was built or proved. It needs $(IFS=';'; echo "${missing[*]}")" >&2
    [[ -z ${CI:-} ]] || exit 1
    exit 0
fi

# In mounts of its own: whatever ends this script, nothing stays mounted under .tools/.
if [[ -z ${IMAGE_UNSHARED:-} ]]; then IMAGE_UNSHARED=1 exec unshare --mount --propagation private "$0"; fi

mkdir -p "$store/tmp"
exec 9>"$store/lock"
flock 9
rm -rf "$store"/work.*
work=$(mktemp -d "$store/work.XXXXXX")
trap 'rm -rf "$work"' EXIT
# overlay where this machine can mount it; vfs copies every layer whole, works anywhere and takes minutes.
mkdir "$work/lower" "$work/upper" "$work/workdir" "$work/merged"
driver=${STORAGE_DRIVER:-vfs}
if [[ -z ${STORAGE_DRIVER:-} ]] && mount -t overlay overlay -o "lowerdir=$work/lower,upperdir=$work/upper,workdir=$work/workdir" "$work/merged" 2>/dev/null; then
    umount "$work/merged"
    driver=overlay
fi
# Cache mounts and layers in the making go to TMPDIR.
export TMPDIR=$store/tmp BUILDAH_ISOLATION=chroot STORAGE_DRIVER=$driver
buildah=(buildah --root "$store/$driver" --runroot "$work/run")
"${buildah[@]}" rm --all >/dev/null # what a killed run left

# The base: as little of Debian as there is, with Python. Kept until the suite or its packages change here.
base=localhost/pybase:$suite
if [[ $("${buildah[@]}" inspect --type image --format '{{index .OCIv1.Config.Labels "packages"}}' "$base" 2>/dev/null) != "$packages" ]]; then
    echo "image: making $base with debootstrap, about a minute, once"
    if ! debootstrap --variant=minbase --include="$packages" "$suite" "$work/base" >"$work/debootstrap.log" 2>&1; then
        tail -n 20 "$work/debootstrap.log" >&2
        exit 1
    fi
    container=$("${buildah[@]}" from scratch)
    tar -C "$work/base" -cf - --numeric-owner --one-file-system --exclude='./dev/*' --exclude='./var/cache/apt/*' \
        --exclude='./var/lib/apt/lists/*' --exclude='./var/log/*' . >"$work/base.tar"
    "${buildah[@]}" add --quiet "$container" "$work/base.tar" / >/dev/null
    "${buildah[@]}" config --label "packages=$packages" --env PATH=/usr/local/bin:/usr/bin:/bin "$container"
    "${buildah[@]}" commit --quiet --rm "$container" "$base" >/dev/null
    rm -rf "$work/base" "$work/base.tar"
fi

# What pip was told on this machine, for the length of the build: no layer, no history, no committed file has it.
"$python" tools/image/pipconf.py "$work"

version=$(sed -n 's/^__version__ = "\(.*\)"$/\1/p' exporter/__init__.py)
revision=$(git rev-parse HEAD 2>/dev/null || true)
if [[ -n $revision && -n $(git status --porcelain -- exporter pyproject.toml requirements Dockerfile) ]]; then revision+=-dirty; fi
epoch=$(git log -1 --format=%ct 2>/dev/null || echo 0)

from=$SECONDS
image=localhost/cloudtrail-exporter:$suite
arguments=(--build-arg "PYTHON_IMAGE=$base" --build-arg "SOURCE_DATE_EPOCH=$epoch" --build-arg "VERSION=$version"
    --build-arg "REVISION=$revision" --build-arg "CREATED=$(date -u -d "@$epoch" +%Y-%m-%dT%H:%M:%SZ)" --build-arg "SOURCE=${SOURCE:-}")
[[ $driver == vfs ]] || arguments+=(--layers)
[[ -z ${NO_CACHE:-} ]] || arguments+=(--no-cache)
if ! "${buildah[@]}" bud --format docker --pull-never --timestamp "$epoch" "${arguments[@]}" \
    --secret "id=pip.conf,src=$work/pip.conf" --secret "id=pip-ca.crt,src=$work/pip-ca.crt" \
    --tag "$image" . >"$work/build.log" 2>&1; then
    tail -n 30 "$work/build.log" >&2
    exit 1
fi
built=$((SECONDS - from))

container=$("${buildah[@]}" from --pull-never "$image")
trap '"${buildah[@]}" rm "$container" >/dev/null; umount "$store/$driver/overlay" 2>/dev/null || true; rm -rf "$work"' EXIT
root=$("${buildah[@]}" mount "$container")
"${buildah[@]}" inspect --type image "$image" >"$work/image.json"
"${buildah[@]}" inspect --type image "$base" >"$work/base.json"
"${buildah[@]}" images --json >"$work/images.json"
"$python" tools/image/prove.py --root "$root" --work "$work" --image "$image" --base "$base" --build-seconds "$built" \
    --revision "$revision" --epoch "$epoch"
# Layers of older builds are what the next one is fast by, up to a size.
if [[ $(du -sm "$store/$driver" | cut -f1) -gt 4000 ]]; then "${buildah[@]}" rmi --prune >/dev/null 2>&1 || true; fi
echo "image: $image, all of it in $((SECONDS - began)) s"
