#!/usr/bin/env bash
# Checks the first apply, deployments and rollbacks on AWS, as far as this is possible without an AWS account:
#
#   tests/checks/aws.sh order       the service starts after everything its tasks need, according to Terraform's graph
#   tests/checks/aws.sh policies    each role has exactly the permissions that it needs, according to AWS's reference
#   tests/checks/aws.sh alarms      simulated deployments are promoted or rolled back as they should be
#   tests/checks/aws.sh costs       the resources and costs of each preset match infra/README.md
#   tests/checks/aws.sh scripts     the deployment scripts work against a mocked AWS
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/../.."
source tests/checks/tools.sh
source tests/checks/aws/render.sh
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

# shown COMMAND…: runs the command, and reports the last line of its output as the check's figure.
shown() { "$@" | tee "$work/shown"; figure "$(tail -n 1 "$work/shown")"; }

order() {
  render "$work"
  shown python3 tests/checks/aws/graph.py "$work/graph.dot"
}

policies() {
  render "$work"
  npm_tool @cloud-copilot/iam-simulate@0.1.173
  # Node looks for modules next to the script, so copy the script and link its modules.
  cp tests/checks/aws/{simulate.mjs,calls.txt,denied.txt} "$work"
  ln -s "$cache/@cloud-copilot-iam-simulate@0.1.173/node_modules" "$work/node_modules"
  shown node "$work/simulate.mjs" "$work"
  python_tool parliament==1.6.4
  python3 tests/checks/aws/lint.py "$work"
}

alarms() {
  render "$work"
  shown python3 tests/checks/aws/alarms.py "$work/production.json"
}

costs() {
  render "$work"
  shown python3 tests/checks/aws/costs.py "$work"
}

scripts() {
  python_tool 'moto[server]==5.2.5' awscli==1.46.3
  shown python3 tests/checks/aws/scripts.py
}

"$1"
