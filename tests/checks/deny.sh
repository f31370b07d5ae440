#!/usr/bin/env bash
# Checks dependencies: their licences, their sources, duplicate versions, and, if the advisory database is reachable,
# security advisories.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/../.."
source tests/checks/tools.sh

cargo_tool cargo-deny 0.20.2
cargo deny --config .deny.toml --locked check --hide-inclusion-graph bans licenses sources
if cargo deny --config .deny.toml --locked fetch db; then
  cargo deny --config .deny.toml --locked check --disable-fetch advisories
elif [[ ${GITHUB_ACTIONS:-} == true ]]; then
  exit 1
else
  printf 'advisories: the database cannot be reached; the scheduled workflow checks it every working day\n'
  figure 'without advisories'
fi
