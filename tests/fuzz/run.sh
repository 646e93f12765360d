#!/usr/bin/env bash
# Fuzzes each parser in turn: tests/fuzz/run.sh BUILD_FOLDER SECONDS. Starts from what the tests' documents hold; what it
# finds is left in BUILD_FOLDER/found and ends the run with status 1.
set -euo pipefail
build=$1 seconds=$2
here=$(cd "$(dirname "$0")" && pwd)
goldens=$here/../goldens/documents
mkdir -p "$build/found"
count=0
for program in "$build"/fuzz_*; do
  if ! [ -x "$program" ] || ! [ -f "$program" ]; then continue; fi
  name=$(basename "$program")
  corpus=$build/corpus/$name
  mkdir -p "$corpus"
  case $name in
    fuzz_docx | fuzz_pptx | fuzz_xlsx | fuzz_odt | fuzz_epub)
      for file in "$goldens"/*."${name#fuzz_}"; do
        python3 - "$file" >"$corpus/seed" <<'PYTHON'
import sys, zipfile
archive = zipfile.ZipFile(sys.argv[1])
for name in archive.namelist():
    data = archive.read(name)
    if len(data) < 20000 and b"\0" not in data and "theme" not in name and "Layout" not in name:
        sys.stdout.buffer.write(b"%%" + name.encode() + b"\n" + data + b"\n")
PYTHON
      done ;;
    fuzz_email) cp "$goldens"/*.eml "$corpus" ;;
    fuzz_json) cp "$goldens"/*.json "$corpus" ;;
    fuzz_markdown) cp "$here"/../../README.md "$corpus" ;;
    fuzz_source) cp "$here"/fuzz_loader.cc "$here"/../reference/document_goldens.py "$corpus" ;;
    fuzz_table) printf 'name,grams\n"a ""b""",3\n' >"$corpus/seed" ;;
    fuzz_jsonlines) printf '{"a": "b"}\n{"a": [1, 2.5e3, null]}\n' >"$corpus/seed" ;;
    fuzz_import)
      printf '{"path": "a", "text": "B\\u00e9e.", "language": "en", "metadata": {"k": "v"}, "chunks": [{"begin": 0, "end": 4, "vector": [1, 2e1], "box": [1, 2, 3, 4], "headings": "h", "place": "page=1", "line": 2}]}' >"$corpus/line"
      python3 -c 'import sys, struct; h = b"{'"'descr': '<f4', 'fortran_order': False, 'shape': (2, 1), }"'\n"; sys.stdout.buffer.write(b"\x93NUMPY\x01\x00" + struct.pack("<H", len(h)) + h + struct.pack("<2f", 1, 2))' >"$corpus/vectors" ;;
    fuzz_html) printf '<h1>One</h1><table><tr><td>a&eacute;<td>b</table><ul><li>c</ul>' >"$corpus/seed" ;;
    fuzz_text) printf 'Title\n\nWords, caf\xe9.\n' >"$corpus/seed" ;;
  esac
  log=$build/$name.log
  # Its own leak check costs much; allocations are bounded by -malloc_limit_mb, time by -timeout.
  if ! ASAN_OPTIONS=detect_leaks=0 "$program" -max_total_time="$seconds" -timeout=20 -rss_limit_mb=4096 -max_len=65536 \
    -artifact_prefix="$build/found/$name-" "$corpus" >"$log" 2>&1; then
    tail -n 40 "$log" >&2
    printf '%s failed; the input is in %s\n' "$name" "$build/found" >&2
    exit 1
  fi
  printf '%s: %s\n' "$name" "$(grep -E '^Done' "$log" | tail -n 1)"
  count=$((count + 1))
done
printf '%d parsers fuzzed for %d seconds each: clean\n' "$count" "$seconds"
