#!/bin/sh
# Pin what pyproject.toml asks for: hashes, no registry address. Usage: tools/lock.sh path/to/uv
set -eu
uv=${1:-uv}
options="--universal --generate-hashes --no-emit-index-url --no-header --quiet"
"$uv" pip compile pyproject.toml --group dev $options -o requirements-dev.lock
"$uv" pip compile pyproject.toml --group build -c requirements-dev.lock $options -o requirements.lock
if grep -n "://" requirements.lock requirements-dev.lock; then
    echo "a lock holds an address" >&2
    exit 1
fi
