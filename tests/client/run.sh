#!/usr/bin/env bash
# Tests a built server with a Python client made from proto/. Usage: tests/client/run.sh PATH_OF_BLAZON.
# Its packages go to deps/client once; the last line is "N passed, N failed".
set -euo pipefail
cd "$(dirname "$0")/../.."
blazon=$(realpath "${1:-build/blazon}")
client=deps/client

digest=$(sha256sum tests/client/requirements.txt | cut -d' ' -f1)
if [ "$(cat "$client/.digest" 2>/dev/null)" != "$digest" ]; then
  echo "client: fetching the wheels of tests/client/requirements.txt (11 MB)" >&2
  rm -rf "$client" "$client.new"
  PIP_ROOT_USER_ACTION=ignore PIP_DISABLE_PIP_VERSION_CHECK=1 python3 -m pip install --quiet --no-input --no-deps --require-hashes \
    --only-binary=:all: --no-compile --target "$client.new" --requirement tests/client/requirements.txt
  echo "$digest" >"$client.new/.digest"
  mv "$client.new" "$client"
fi

stubs=$(mktemp -d)
trap 'rm -rf "$stubs"' EXIT
export PYTHONPATH="$PWD/$client:$stubs" PYTHONDONTWRITEBYTECODE=1
python3 -m grpc_tools.protoc -Iproto -I"$client" --python_out="$stubs" --grpc_python_out="$stubs" proto/blazon/v1/*.proto
python3 tests/client/client_test.py "$blazon"
