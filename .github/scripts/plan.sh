#!/usr/bin/env bash
# plan.sh FILE: what this change would do to production, as Markdown. It reads, and takes no lock. The image stays the
# running one: a pull request's own image is never published.
set -euo pipefail
file=$1

printf '%s\n' "$TFVARS" > infra/environment.auto.tfvars
terraform -chdir=infra init -input=false -backend-config="bucket=$STATE_BUCKET"
image=$(terraform -chdir=infra output -raw image)
terraform -chdir=infra plan -input=false -lock=false -var "image=$image" -out=plan.bin > /dev/null
{
  printf '### Terraform plan\n\n```\n'
  # A comment holds 65,536 characters.
  terraform -chdir=infra show -no-color plan.bin | head -c 60000
  printf '\n```\n'
} > "$file"
