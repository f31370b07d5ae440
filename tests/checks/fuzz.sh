#!/usr/bin/env bash
# Fuzzes the real program with raw requests. Most seeds are fixed, but each run also uses and prints a new one.
#
#   tests/checks/fuzz.sh                            fuzzes for 60 seconds
#   tests/checks/fuzz.sh --seconds 600              fuzzes for ten minutes
#   tests/checks/fuzz.sh --replay SEED:ITERATION    replays a single case, as named in a failure message
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/../.."

cargo build --locked
PYTHONDONTWRITEBYTECODE=1 PYTHONPATH=tests:tests/checks exec python3 -m fuzz target/debug/urlshort "$@"
