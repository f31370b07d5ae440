#!/usr/bin/env bash
# apply.sh: applies infra/plan.bin, which is exactly the approved plan, and waits for the deployment. In the meantime,
# verify-canary.sh sends requests to the new version, and rolls it back if they fail. Terraform rejects a stale plan.
set -euo pipefail

terraform -chdir=infra init -input=false -backend-config="bucket=$STATE_BUCKET" -backend-config="region=$AWS_REGION"
canary=''
# On the first apply, there is no service to test, and no version to roll back to.
if cluster=$(terraform -chdir=infra output -raw cluster_name 2> /dev/null); then
  .github/scripts/verify-canary.sh "$cluster" "$(terraform -chdir=infra output -raw service_name)" \
    "$(terraform -chdir=infra output -raw test_url)" &
  canary=$!
fi
status=0
terraform -chdir=infra apply -input=false -lock-timeout=10m plan.bin || status=$?
if [[ -n $canary ]]; then
  # If the apply did not start a deployment, verify-canary.sh is still waiting for one.
  kill "$canary" 2> /dev/null || true
  wait "$canary" || true
fi
exit "$status"
