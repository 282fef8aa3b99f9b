#!/bin/sh
# Installs the course from this folder, without a network: sh install.sh [FOLDER]
here=$(CDPATH= cd -- "$(dirname -- "$0")" && pwd) || exit 1
for python in ${PYTHON:+"$PYTHON"} python@PYTHON@ python3 python; do
    if "$python" -c 'import sys; sys.exit("%d.%d" % sys.version_info[:2] != "@PYTHON@")' 2>/dev/null; then
        exec "$python" "$here/install.py" "$@"
    fi
done
echo "Python @PYTHON@ was not found. Install it (@LEAST@ or newer), or say where it is:" >&2
echo "    PYTHON=/path/to/python@PYTHON@ sh install.sh" >&2
exit 1
