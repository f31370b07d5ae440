#!/usr/bin/env bash
# Soak test of the release build: mixed load, clients that disconnect, a store that is killed or frozen, restarts and
# crashes of the service. Fails if an acknowledged change is lost, something panics, a 5xx occurs outside an outage, or
# memory or descriptors keep growing.
#
#   tests/soak.sh MINUTES                                 split among all stores
#   tests/soak.sh MINUTES [sqlite|postgres|redis]...
#
# BINARY is the path of another build to test.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

[[ -n ${BINARY:-} ]] || cargo build --release --locked
PYTHONDONTWRITEBYTECODE=1 PYTHONPATH=tests exec python3 -m soak --binary "${BINARY:-target/release/urlshort}" "$@"
