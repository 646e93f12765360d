#!/usr/bin/env bash
# The durability tests at length: 200 kills of a collection's writer, 100 of the saving of a checkpoint, 50 of a training
# run; 1,000 flipped bits; a file system of 10 MB (mounted for it, which root may).
# Usage: tests/soak.sh BUILD_FOLDER. Exit status 0 when all passed.
set -euo pipefail
cd "$(dirname "$0")/.."
build=${1:?usage: tests/soak.sh BUILD_FOLDER}
export OMP_WAIT_POLICY="${OMP_WAIT_POLICY:-PASSIVE}"

BLAZON_KILLS=200 "$build/retrieval_crash_test"
BLAZON_KILLS=100 "$build/trainer_test" --gtest_filter='*Killed*'
BLAZON_KILLS=50 "$build/train_cli_test" --gtest_filter='*Killed*'
BLAZON_FLIPS=500 "$build/retrieval_test" --gtest_filter='*CollectionDamageTest*'
"$build/retrieval_calls_test"
disk=$(mktemp -d)
if ! mount -t tmpfs -o size=10m tmpfs "$disk"; then
  rmdir "$disk"
  echo "no file system can be mounted here: run it as root for the test of a full one" >&2
  exit 1
fi
trap 'umount "$disk"; rmdir "$disk"' EXIT
BLAZON_DISK=$disk "$build/retrieval_calls_test" --gtest_filter='CollectionFullDiskTest.*'
