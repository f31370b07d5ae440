#!/usr/bin/env bash
# Runs a soak test of the release build: a mixed load with clients that disconnect, a store that is killed or frozen,
# and a service that restarts or crashes. Fails if an acknowledged change is lost, something panics, a 5xx occurs
# outside an outage, or the use of memory or descriptors keeps growing.
#
#   tests/soak.sh MINUTES                                 split among all stores
#   tests/soak.sh MINUTES [sqlite|postgres|redis]...
#
# To test another build, set BINARY to its path.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

[[ -n ${BINARY:-} ]] || cargo build --release --locked
PYTHONDONTWRITEBYTECODE=1 PYTHONPATH=tests exec python3 -m soak --binary "${BINARY:-target/release/urlshort}" "$@"
