#!/usr/bin/env bash
# Shows what Blazon does: starts a server on loopback, captions the sample photos, indexes the sample documents, asks
# questions about them, stops the server. Usage: setup/demo.sh PATH_OF_BLAZON
set -euo pipefail
cd "$(dirname "$0")/.."
program=${1:?usage: setup/demo.sh PATH_OF_BLAZON}

work=$(mktemp -d)
server_pid=
stop() {
  status=$?
  trap - EXIT INT TERM
  if [ -n "$server_pid" ] && kill -TERM "$server_pid" 2>/dev/null; then
    wait "$server_pid" || true
  fi
  [ "$status" -eq 0 ] || { printf '\ndemo: failed; what the server said:\n' >&2; cat "$work/server.log" >&2 || true; }
  rm -rf "$work"
  exit "$status"
}
trap stop EXIT
trap 'exit 130' INT TERM

# Shows a command, then runs it against the server. An answer of "not in the documents" (status 3) is a result, not a failure.
run() {
  printf '\n$ blazon %s\n' "${*@Q}" | sed -E "s/'([A-Za-z0-9_./-]+)'/\1/g"
  "$program" --server "$address" "$@" || [ $? -eq 3 ]
}

echo "Starting a server on loopback."
exec {server_output}< <(exec "$program" serve --address 127.0.0.1:0 --data "$work/data" 2>&1)
server_pid=$!
address=
while [ -z "$address" ]; do
  read -r line <&"$server_output" || exit 1  # it ended before it listened
  echo "$line" >>"$work/server.log"
  [[ $line =~ listening\ on\ ([^;\ ]+) ]] && address=${BASH_REMATCH[1]}
done
cat <&"$server_output" >>"$work/server.log" &
"$program" --server "$address" health --wait 60
echo "Every command below talks to it with --server $address."

run models
run caption assets/photos/*.jpg
run caption --prompt "Is there a cat in the picture?" assets/photos/cat.jpg assets/photos/coffee.jpg
run index add --collection samples assets/documents
run ask --collection samples "How much does an adult ticket for the Halvorsen Museum cost?"
run ask --collection samples "How high is Mount Larkspur?"
run ask --collection samples "How long is the warranty on the heating element of the kettle?"
run ask --collection samples --extractive "Why must vinegar not be used in the coffee machine?"
run ask --collection samples "What is the boiling point of mercury?"

printf '\nStopping the server.\n'
kill -TERM "$server_pid"
wait "$server_pid"
server_pid=
