#!/usr/bin/env bash
# Checks that the Terraform code is formatted and valid, and runs its tests with a mocked provider. If the provider
# can't be downloaded, set TERRAFORM_SCHEMA to a program that makes the provider's schema available to a command and
# runs that command.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/../.."
source tests/checks/tools.sh
command -v terraform > /dev/null || { printf 'needs terraform 1.11 or newer\n'; exit 1; }

export CHECKPOINT_DISABLE=1 TF_IN_AUTOMATION=1 TF_CLI_ARGS=-no-color TF_PLUGIN_CACHE_DIR=$cache/terraform-plugins
mkdir -p "$TF_PLUGIN_CACHE_DIR"
terraform fmt -check -diff -recursive infra

# Check for the lifecycle block here, because tests with mocks can't show how it affects attributes that only AWS
# changes.
awk '/^resource "aws_lb_listener_rule" "service"/, /^}/' infra/alb.tf | grep -qE '^ +ignore_changes = \[action\]$' ||
  { printf 'an apply would reset the weights that a deployment has set\n'; exit 1; }

# The task's variables must be options of the service, because the service ignores unknown names.
for name in $(sed -n '/^  settings = merge/,/^    }/s/^ *\([A-Z_]*\) *=.*/\1/p' infra/containers.tf); do
  [[ $name == PG* ]] || grep -q "^| \`$name\` |" README.md || { printf '%s is not an option of the service\n' "$name"; exit 1; }
done

output=$(mktemp)
trap 'rm -f "$output"' EXIT
# shellcheck disable=SC2016 # the inner shell expands the variables
${TERRAFORM_SCHEMA:-} sh -ec 'for module in infra infra/bootstrap; do
    terraform -chdir="$module" init -backend=false -input=false
    terraform -chdir="$module" validate
  done
  # Run these tests with the production preset.
  terraform -chdir=infra test -var-file=production.tfvars
  terraform -chdir=infra test -var-file=small.tfvars -test-directory=tests/small
  terraform -chdir=infra/bootstrap test' | tee "$output"
figure "$(grep -c '^ *run .* pass$' "$output") tests"
