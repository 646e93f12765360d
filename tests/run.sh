#!/usr/bin/env bash
# Runs every test of a built tree: the C++ tests by ctest, then the Python client against the service.
# Usage: tests/run.sh BUILD_FOLDER. Exit status 0 when all passed. The last line is "N passed, N failed", in test cases.
set -euo pipefail
cd "$(dirname "$0")/.."
build=${1:?usage: tests/run.sh BUILD_FOLDER}

status=0
# One after another: most of them use all cores, and some measure time.
ctest --test-dir "$build" --output-on-failure --no-tests=error || status=1

# The cases that GoogleTest or unittest reports in each program; a program that reports none counts as one case.
read -r passed failed < <(awk '
  /^\[  PASSED  \] [0-9]+ test/ { p += $4 }
  /^\[  FAILED  \] [0-9]+ test/ { f += $4 }
  /^Ran [0-9]+ test/ { ran = $2 }
  /^Test (Passed|Failed)\./ {
    if ($2 != "Passed." && f == 0) f = 1
    if (p + f == 0) p = ran > 0 ? ran : 1
    passed += p; failed += f; p = f = ran = 0
  }
  END { print passed + 0, failed + 0 }' "$build/Testing/Temporary/LastTest.log")

# What the measuring tests found, which ctest shows only when they fail.
printf '\nMeasured\n'
awk '/^Of [0-9]+ questions/ { on = 1 } on || / [0-9]+ of +[0-9]+ .*%\)$/ { print } /\.$/ { on = 0 }' "$build/Testing/Temporary/LastTest.log"

printf '\nPython client\n'
client_log=$build/client.log
tests/client/run.sh "$build/blazon" | tee "$client_log" || status=1
read -r client_passed client_failed < <(sed -nE 's/^([0-9]+) passed, ([0-9]+) failed$/\1 \2/p' "$client_log" | tail -n 1) || {
  client_passed=0 client_failed=1 status=1  # it ended before its tests did
}

printf '\nAll together\n%d passed, %d failed\n' $((passed + client_passed)) $((failed + client_failed))
exit "$status"
