#!/usr/bin/env bash
# Print the engine that ENGINE names, else docker, podman or buildah, whichever is there; nothing if none is.
set -euo pipefail

[[ -z ${ENGINE:-} ]] || { echo "$ENGINE"; exit; }
for name in docker podman buildah; do
    # The docker command may be there without a daemon that answers.
    if command -v "$name" >/dev/null && { [[ $name != docker ]] || docker info >/dev/null 2>&1; }; then
        echo "$name"
        exit
    fi
done
