#!/usr/bin/env bash
# Takes small projects through the vendor's command-line client against
# connic-fake. It needs Go and Python 3.10 or newer with venv, installs the pinned
# client from the Python package index, and ends by itself within ten minutes.
set -euo pipefail
cd "$(dirname "$0")"
version=0.1.57
venv=${VENDOR_VENV:-$(mktemp -d)/venv}
if [ ! -x "$venv/bin/connic" ]; then
  python3 -m venv "$venv"
  "$venv/bin/pip" install --quiet --disable-pip-version-check "connic-composer-sdk==$version"
fi
CONNIC_VENDOR_CLIENT="$venv/bin/connic" timeout 600 go test -count=1 -v . "$@"
