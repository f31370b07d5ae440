#!/usr/bin/env bash
# Runs checkov on the Terraform code and the Dockerfile. A comment next to the code can waive a finding, but must give
# a reason.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/../.."
source tests/checks/tools.sh

python_tool checkov==3.3.30
# Reject waivers without a reason.
if git grep -nE '#\s*checkov:skip=[A-Z0-9_]+:?\s*$' -- infra Dockerfile; then exit 1; fi
checkov --directory infra --framework terraform --compact --quiet --skip-download
checkov --file Dockerfile --framework dockerfile --compact --quiet --skip-download
