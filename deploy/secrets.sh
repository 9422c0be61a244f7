#!/usr/bin/env bash
# Write secrets of your own for docker-compose.yml; what is there already stays. Before the first
# start: PostgreSQL keeps the password with which its volume was made.
set -euo pipefail
cd "$(dirname "$0")/.."
mkdir -p secrets
chmod 700 secrets

write() { # write NAME CONTENT
    [ -e "secrets/$1" ] || printf '%s' "$2" > "secrets/$1"
    chmod 444 "secrets/$1" # the folder is closed; containers read the files as their own users
}
write postgres_password "$(od -An -N24 -tx1 /dev/urandom | tr -d ' \n')"
write vibecoder_database_url \
    "postgresql://vibecoder:$(cat secrets/postgres_password)@postgres:5432/vibecoder"
write openai_api_key "${OPENAI_API_KEY:-}"
grep -qs '^SECRETS=' .env || echo "SECRETS=./secrets" >> .env
echo "Secrets are in secrets/, and .env says so. Without a key in secrets/openai_api_key the model is offline."
