#!/usr/bin/env bash
# A base image for machines that reach no image registry: Debian bookworm with its Python 3.11, made from packages.
# Needs root, debootstrap and buildah. Then: BASE_IMAGE=localhost/mmpipe-base docker/build.sh
set -euo pipefail

name=${1:-localhost/mmpipe-base}
tree=$(mktemp -d)
container=
clean() {
    [[ -z $container ]] || buildah rm "$container" >/dev/null
    rm -rf "$tree"
}
trap clean EXIT

debootstrap --variant=minbase --include=ca-certificates,python3,python3-venv bookworm "$tree"
rm -rf "$tree"/var/cache/apt/archives/*.deb "$tree"/var/lib/apt/lists/* "$tree"/usr/share/{doc,man,locale}/*
container=$(buildah from scratch)
buildah add --quiet "$container" "$tree" / >/dev/null
buildah config --env LANG=C.UTF-8 --cmd /bin/bash "$container"
buildah commit --quiet "$container" "$name" >/dev/null
echo "Base image: $name"
