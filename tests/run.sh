#!/usr/bin/env bash
# Runs every test of a built tree: the C++ tests by ctest, then the Python client against the service.
# Usage: tests/run.sh BUILD_FOLDER. Exit status 0 when none failed. The last line is "N passed, N failed, N skipped", in test
# cases; why some were skipped stands in the log.
set -euo pipefail
cd "$(dirname "$0")/.."
build=${1:?usage: tests/run.sh BUILD_FOLDER}

log=$build/tests.log
# One after another: most of them use all cores, and some measure time. All output goes to the log, the progress is shown.
# OpenMP's threads sleep while they wait: where they spin, a busy machine makes some tests many times longer.
export OMP_WAIT_POLICY="${OMP_WAIT_POLICY:-PASSIVE}"
set +e
ctest --test-dir "$build" --verbose --no-tests=error 2>&1 | tee "$log" | grep --line-buffered -aE '^ *[0-9]+/[0-9]+ Test '
status=${PIPESTATUS[0]}
set -e

# Then what failed tests said, ctest's closing lines, what the measuring tests found, and the number of cases: those that
# GoogleTest or unittest reports, and one for a program that reports none. A test's output lines begin with "NUMBER: ".
printf '\n'
awk '/^[0-9]+: / { text[$1 + 0] = text[$1 + 0] $0 "\n" }
  /^ *[0-9]+\/[0-9]+ Test / && !/ Passed +[0-9.]+ sec/ { match($0, /#[0-9]+/); printf "%s\n", text[substr($0, RSTART + 1, RLENGTH - 1) + 0] }
  /tests passed, / { closing = 1 }
  closing { print }' "$log"
read -r passed failed skipped < <(awk '
  /^[0-9]+: / { id = $1 + 0; sub(/^[0-9]+: /, "") }
  /^\[  PASSED  \] [0-9]+ test/ { p[id] += $4 }
  /^\[  FAILED  \] [0-9]+ test/ { f[id] += $4 }
  /^\[  SKIPPED \] [0-9]+ test/ { s[id] += $4 }
  /^Ran [0-9]+ test/ { ran[id] = $2 }
  ran[id] && /^(OK|FAILED) \(.*skipped=[0-9]+/ { match($0, /skipped=[0-9]+/); s[id] = substr($0, RSTART + 8, RLENGTH - 8) }
  /^ *[0-9]+\/[0-9]+ Test / {
    good = / Passed +[0-9.]+ sec/
    match($0, /#[0-9]+/); id = substr($0, RSTART + 1, RLENGTH - 1) + 0
    if (!good && f[id] == 0) f[id] = 1
    if (p[id] + f[id] == 0) p[id] = ran[id] > 0 ? ran[id] - s[id] : s[id] > 0 ? 0 : 1
    passed += p[id]; failed += f[id]; skipped += s[id]
  }
  END { print passed + 0, failed + 0, skipped + 0 }' "$log")
printf '\nMeasured\n'
# Tables are lines that begin with "| "; the questions' figures end with a full stop.
awk '{ sub(/^[0-9]+: /, "") } /^\| / { print; next } /^Of [0-9]+ questions/ { on = 1 } on || / [0-9]+ of +[0-9]+ .*%\)$/ { print } /\.$/ { on = 0 }' "$log"

printf '\nPython client\n'
client_log=$build/client.log
tests/client/run.sh "$build/blazon" | tee "$client_log" || status=1
read -r client_passed client_failed < <(sed -nE 's/^([0-9]+) passed, ([0-9]+) failed$/\1 \2/p' "$client_log" | tail -n 1) || {
  client_passed=0 client_failed=1 status=1  # it ended before its tests did
}

printf '\nAll together\n%d passed, %d failed, %d skipped\n' $((passed + client_passed)) $((failed + client_failed)) "$skipped"
exit "$status"
