#!/usr/bin/env bash
# apply.sh: applies infra/plan.bin, the very plan that was approved, and waits for the deployment. While it runs,
# verify-canary.sh asks the new version and rolls it back if it fails. Terraform refuses a plan that another apply has
# overtaken.
set -euo pipefail

terraform -chdir=infra init -input=false -backend-config="bucket=$STATE_BUCKET" -backend-config="region=$AWS_REGION"
canary=''
# The first apply has no service to ask about, and nothing to go back to.
if cluster=$(terraform -chdir=infra output -raw cluster_name 2> /dev/null); then
  .github/scripts/verify-canary.sh "$cluster" "$(terraform -chdir=infra output -raw service_name)" \
    "$(terraform -chdir=infra output -raw test_url)" &
  canary=$!
fi
status=0
terraform -chdir=infra apply -input=false -lock-timeout=10m plan.bin || status=$?
if [[ -n $canary ]]; then
  # It still waits if the apply has made no deployment.
  kill "$canary" 2> /dev/null || true
  wait "$canary" || true
fi
exit "$status"
