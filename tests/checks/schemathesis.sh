#!/usr/bin/env bash
# Runs Schemathesis, which generates requests from /openapi.json, sends them to the running program, and checks every
# response against the document. Set SEED to generate different requests.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/../.."
source tests/checks/tools.sh

python_tool schemathesis==4.32.5
cargo build --locked
work=$(mktemp -d)
trap '[[ -z ${service:-} ]] || kill "$service"; rm -rf "$work"' EXIT
token=schemathesis-0123456789
env HOST=127.0.0.1 PORT=0 TRUSTED_PROXIES=1 STORE_URL="sqlite:$work/links.db" RATE_LIMIT=0 API_TOKENS="check:$token" \
  target/debug/urlshort > "$work/log" &
service=$!
until address=$(sed -n '/"msg":"listening"/s/.*"address":"\([^"]*\)".*/\1/p' "$work/log") && [[ $address ]]; do
  kill -0 "$service"
done
export PYTHONDONTWRITEBYTECODE=1 SCHEMATHESIS_HOOKS=tests/checks/schemathesis_hooks.py
schemathesis --config-file tests/checks/schemathesis.toml run "http://$address/openapi.json" \
  --checks all --exclude-checks allow_header_conformance --max-examples 30 --seed "${SEED:-1}" --header "Authorization: Bearer $token" --no-color | tee "$work/report"
# No request may make the service log an error.
if grep -E '"level":"ERROR"' "$work/log"; then exit 1; fi
figure "$(grep -om1 '[0-9]\+ generated' "$work/report") requests"
