#!/usr/bin/env bash
# Phase 004's validation, against the service at BASE_URL; fails if any step does.
set -euo pipefail
cd "$(dirname "$0")/.."
BASE_URL=${BASE_URL:-http://localhost:8000}
OUTPUT_DIR=${OUTPUT_DIR:-validated_test_evidence/phase-004}
PATH=$PWD/.venv/bin:$PATH
export NO_PROXY=localhost,127.0.0.1${NO_PROXY:+,$NO_PROXY}
mkdir -p "$OUTPUT_DIR"

# Run session tests
python -m pytest -m "" tests/integration/test_phase_004_sessions.py -v \
  --no-header -p no:cacheprovider > "$OUTPUT_DIR/test_output.log" 2>&1 ||
  { tail -n 40 "$OUTPUT_DIR/test_output.log"; exit 1; }

# Test session flow
PROJECT_ID=$(curl -fsS -X POST "$BASE_URL/projects" \
  -H "Content-Type: application/json" \
  -d '{"name": "Session Test"}' | jq -er .id)

# Create and use session
SESSION_ID=$(curl -fsS -X POST "$BASE_URL/projects/${PROJECT_ID}/sessions" | jq -er .session_id)

# Send messages
curl -fsS -X POST "$BASE_URL/sessions/${SESSION_ID}/messages" \
  -H "Content-Type: application/json" \
  -d '{"prompt": "Create agent"}' > "$OUTPUT_DIR/msg1.json"

curl -fsS -X POST "$BASE_URL/sessions/${SESSION_ID}/messages" \
  -H "Content-Type: application/json" \
  -d '{"prompt": "Add Spanish"}' > "$OUTPUT_DIR/msg2.json"

# Get full response
MSG_ID=$(jq -er .message_id "$OUTPUT_DIR/msg1.json")
curl -fsS "$BASE_URL/messages/${MSG_ID}/full" > "$OUTPUT_DIR/full_response.json"

# Beyond the status: both were answered in this conversation, the full response is full
jq -es 'all(.status == "completed" and (.trace_id | test("^trace_[0-9a-f]{32}$")))' \
  "$OUTPUT_DIR/msg1.json" "$OUTPUT_DIR/msg2.json" > /dev/null
jq -e 'has("tool_calls") and (.usage | type == "object") and (.model | length > 0)' \
  "$OUTPUT_DIR/full_response.json" > /dev/null

# What it ran with
{
  python - << 'PYTHON'
import platform
from importlib.metadata import version

print("python", platform.python_version())
for name in ("fastapi", "celery", "openai-agents", "sqlalchemy", "redis"):
    print(name, version(name))
PYTHON
  echo "model $(jq -er .model "$OUTPUT_DIR/full_response.json")"
} > "$OUTPUT_DIR/versions.txt"

# Evidence holds nothing of the machine that it was made on
if grep -rnF -e "$PWD" -e "$HOME/" "$OUTPUT_DIR" ||
  grep -rnE '(^|[^[:alnum:]:/._-])/(home|root|Users|private|tmp|var|usr|opt|mnt|srv|work)/' "$OUTPUT_DIR"; then
  echo "Evidence must not hold paths of the machine." >&2
  exit 1
fi

echo "Phase 004 validation complete"
