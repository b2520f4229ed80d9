#!/bin/sh
# Print a Python that can make the environment: 3.12 to 3.14 (the lock has no wheels for newer ones), with venv and ensurepip.
# Candidates are run, not only looked up: a launcher may stand on PATH and still have no Python behind it.
# With --uv, prints "uv" when no such Python is found but uv works (uv then brings its own).

# The checkout's .python-version must count, wherever this is called from.
case $0 in */*) cd "${0%/*}/.." || exit 1 ;; esac

probe='
import os, sys
if not (3, 12) <= sys.version_info < (3, 15):
    sys.exit(1)
import ensurepip, venv
base = getattr(sys, "_base_executable", None) or sys.executable
print(base if os.path.exists(base) else sys.executable)
'

try() {
    found=$("$1" -c "$probe" 2>/dev/null </dev/null) && [ -n "$found" ] && printf '%s\n' "$found" && exit 0
}

if [ -n "${PYTHON:-}" ]; then
    try "$PYTHON"
    echo "find-python: PYTHON=$PYTHON is not a Python 3.12 to 3.14 with venv and ensurepip; looking for another" >&2
fi
for name in python3 python3.13 python3.12 python3.14; do
    IFS=:
    for folder in $PATH; do
        [ -x "${folder:-.}/$name" ] && try "${folder:-.}/$name"
    done
    unset IFS
done
if [ "${1:-}" = "--uv" ] && uv --version >/dev/null 2>&1; then
    echo uv
    exit 0
fi
echo "ketastats needs Python 3.12, 3.13 or 3.14 with venv and ensurepip (on Debian and Ubuntu: apt install python3-venv), or uv; neither was found." >&2
exit 1
