#!/usr/bin/env bash
# Tests the real program's pages in a real browser. See browser/main.cjs.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/../.."
source tests/checks/tools.sh

debian_tool chromium chromium
npm_tool playwright-core@1.64.1
npm_tool axe-core@4.11.0
cargo build --locked
NODE_PATH=$cache/playwright-core@1.64.1/node_modules:$cache/axe-core@4.11.0/node_modules
export NODE_PATH
figure "$(node tests/checks/browser/main.cjs)"
