#!/usr/bin/env bash
# Fuzzes the real program with raw requests, from fixed seeds and a new one, which is printed.
#
#   tests/checks/fuzz.sh                            60 seconds
#   tests/checks/fuzz.sh --seconds 600
#   tests/checks/fuzz.sh --replay SEED:ITERATION    one case, as named by a failure
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/../.."

cargo build --locked
PYTHONDONTWRITEBYTECODE=1 PYTHONPATH=tests:tests/checks exec python3 -m fuzz target/debug/urlshort "$@"
