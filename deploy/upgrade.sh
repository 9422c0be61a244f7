#!/usr/bin/env bash
# Replace every API and worker container by one of the checkout's version, one after the other:
# each new one is healthy before an old one is told to stop.
set -euo pipefail
cd "$(dirname "$0")/.."

replace() { # replace SERVICE
    local service=$1 old container
    mapfile -t old < <(docker compose ps --quiet "$service")
    for container in "${old[@]}"; do
        echo "$service: one more, then ${container:0:12} stops"
        docker compose up --detach --no-deps --no-recreate --wait \
            --scale "$service=$((${#old[@]} + 1))" "$service"
        sleep 2 # until the proxy knows the new one
        docker stop --time 40 "$container" >/dev/null
        docker rm "$container" >/dev/null
    done
}

docker compose build
docker compose run --rm migrate # compatible with the version that runs
replace worker
replace api
docker compose ps
