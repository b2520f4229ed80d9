#!/bin/sh
# Write requirements.lock and requirements-minimum.lock from pyproject.toml.
# Pins that still fit stay; `scripts/lock.sh --upgrade` takes the newest of everything.
# Nothing of this machine may enter the locks: no configuration, no index, no folder of wheels.
set -eu
cd "$(dirname "$0")/.."
uv=${UV:-uv}
if ! "$uv" --version >/dev/null 2>&1; then
    echo "scripts/lock.sh needs uv: install it, or name it with UV=..." >&2
    exit 1
fi
for name in $(env | sed -n 's/^\(UV_[A-Z_]*\)=.*/\1/p'); do
    unset "$name"
done

compile() {
    UV_PYTHON_DOWNLOADS=never "$uv" --no-config pip compile pyproject.toml "$@" \
        --quiet --universal --python-version 3.12 --only-binary :all: --group build \
        --generate-hashes --no-header --no-annotate --no-emit-index-url --no-emit-find-links >/dev/null
}

compile --extra test --extra dev --output-file requirements.lock "$@"
compile --extra test --resolution lowest-direct --upgrade --output-file requirements-minimum.lock

if grep -nE '://|file:|--(index-url|extra-index-url|find-links)|(^| )/' requirements.lock requirements-minimum.lock; then
    echo "scripts/lock.sh: the lines above name a host or a folder and must not be in a lock" >&2
    exit 1
fi
