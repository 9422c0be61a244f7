#!/usr/bin/env bash
# Write the files that docker-compose.yml takes secrets from; what is there already stays.
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
echo "Secrets are in secrets/. Without a key in secrets/openai_api_key the model is offline."
