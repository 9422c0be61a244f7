#!/usr/bin/env bash
# Start an embedded service with an empty data folder on a free port and validate it.
# The model is `offline` unless OPENAI_API_KEY, OPENAI_BASE_URL or VIBECODER_MODEL name another.
set -euo pipefail
cd "$(dirname "$0")/.."
python=.venv/bin/python
for name in $(compgen -e VIBECODER_); do
  case $name in VIBECODER_MODEL | VIBECODER_MODEL_API) ;; *) unset "$name" ;; esac
done

home=$(mktemp -d)
service=
finish() {
  status=$?
  if [ -n "$service" ]; then
    kill "$service" 2> /dev/null && wait "$service" || true
  fi
  [ $status = 0 ] || cat "$home/service.log" >&2
  rm -rf "$home"
  exit $status
}
trap finish EXIT
trap 'exit 130' INT TERM

port=$($python -c 'import socket; s = socket.create_server(("127.0.0.1", 0)); print(s.getsockname()[1])')
export BASE_URL=http://127.0.0.1:$port NO_PROXY=localhost,127.0.0.1${NO_PROXY:+,$NO_PROXY}
VIBECODER_PORT=$port VIBECODER_DATA_DIR=$home/data $python -m api > "$home/service.log" 2>&1 &
service=$!
for _ in $(seq 100); do
  curl -fs "$BASE_URL/ready" > /dev/null && break
  kill -0 "$service" 2> /dev/null || exit 1
  sleep 0.2
done
curl -fsS "$BASE_URL/ready" > /dev/null

bash tests/validate_phase_004.sh
