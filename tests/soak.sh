#!/usr/bin/env bash
# Soaks the release build: mixed load, clients that hang up, a store that is killed or frozen, restarts and crashes of
# the service. Fails if an acknowledged change is lost, if something panics, if a 5xx comes outside of an outage, or if
# memory or descriptors keep growing.
#
#   tests/soak.sh MINUTES                                 shared among all stores
#   tests/soak.sh MINUTES [sqlite|postgres|redis]...
#
# BINARY names another build than the release build.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

[[ -n ${BINARY:-} ]] || cargo build --release --locked
PYTHONDONTWRITEBYTECODE=1 PYTHONPATH=tests exec python3 -m soak --binary "${BINARY:-target/release/urlshort}" "$@"
