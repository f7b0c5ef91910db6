#!/usr/bin/env bash
# Run `make demo` in a debootstrapped Debian 12 that has python3, python3-venv and make, and nothing else.
# Usage: tools/bare_debian.sh CHECKOUT FOLDER   (as root; FOLDER is made and removed)
set -euo pipefail
checkout=$(realpath "$1")
bare=$2
packages=$(mktemp -d)

cleanup() {
    umount -l "$bare/proc" 2>/dev/null || true
    umount -l "$bare/dev" 2>/dev/null || true
    rm -rf --one-file-system "$bare" "$packages"
}
trap cleanup EXIT

# What the locks name is fetched outside, so that the bare folder needs no network and no certificates.
"$checkout/.venv/bin/python" -m pip download --quiet --require-hashes --only-binary :all: -r "$checkout/requirements.lock" -d "$packages"

debootstrap --variant=minbase --include=python3,python3-venv,make bookworm "$bare" >"$bare.log" 2>&1 || { tail -5 "$bare.log" >&2; exit 1; }
mkdir -p "$bare/packages" "$bare/injectplan"
cp "$packages"/* "$bare/packages/"
git -C "$checkout" archive HEAD | tar -x -C "$bare/injectplan"
mount -t proc proc "$bare/proc"
mount --bind /dev "$bare/dev"
if [ -n "$(find "$bare" -xdev -name 'libgomp*' -o -xdev -name 'libEGL*' -o -xdev -name 'libGL.*' 2>/dev/null | head -1)" ]; then
    echo "error: the bare folder is not bare" >&2
    exit 1
fi
env -i PATH=/usr/sbin:/usr/bin:/sbin:/bin HOME=/root PIP_NO_INDEX=1 PIP_FIND_LINKS=/packages \
    chroot "$bare" sh -c 'cd /injectplan && make --no-print-directory demo'
test -s "$bare/injectplan/out/demo/report.html"
