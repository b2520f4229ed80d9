#!/bin/sh
# Make an empty environment: scripts/make-env.sh FOLDER
set -eu
here=$(cd "$(dirname "$0")" && pwd)
python=$("$here/find-python.sh" --uv)
if [ "$python" = uv ]; then
    echo "making $1 with uv"
    rm -rf "$1"
    uv venv --quiet --seed --python '>=3.12,<3.15' "$1"
else
    echo "making $1 with $python"
    "$python" -m venv --clear "$1"
fi
