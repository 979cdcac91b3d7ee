#!/usr/bin/env bash
# Build the image with docker, podman or buildah, whichever is there (or with the one that ENGINE names).
#
#   docker/build.sh [IMAGE] [more options of the engine's build command]
#
# BASE_IMAGE, TORCH_INDEX_URL and EXTRAS in the environment become build arguments; docs/containers.md explains them.
# On a machine with its own package settings, mount them for the build, for example with podman or buildah
# `--volume /etc/pip.conf:/etc/pip.conf:ro`: nothing of a mount is left in the image.
set -euo pipefail
cd "$(dirname "$0")/.."

image=${1:-mmpipe:latest}
shift || true
engine=$(docker/engine.sh)
[[ -n $engine ]] || { echo "Nothing to build with: install docker, podman or buildah." >&2; exit 1; }

arguments=()
for name in BASE_IMAGE TORCH_INDEX_URL EXTRAS; do
    [[ -z ${!name:-} ]] || arguments+=(--build-arg "$name=${!name}")
done
version=$(sed -n 's/^version = "\(.*\)"$/\1/p' pyproject.toml)
revision=$(git rev-parse HEAD 2>/dev/null || echo unknown)
[[ -z $(git status --porcelain 2>/dev/null) ]] || revision+=-modified
arguments+=(--build-arg "VERSION=$version" --build-arg "REVISION=$revision")

case $engine in
    docker) command=(docker build) ;;
    # The OCI format has no HEALTHCHECK; --layers keeps the layer of the dependencies for the next build.
    podman) command=(podman build --format docker --layers) ;;
    buildah) command=(buildah build --format docker --layers) ;;
    *) echo "ENGINE=$engine: valid values are docker, podman, buildah" >&2; exit 2 ;;
esac
echo "Building $image with $engine"
"${command[@]}" --file docker/Dockerfile --tag "$image" "${arguments[@]}" "$@" .
