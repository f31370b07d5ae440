#!/usr/bin/env bash
# plan.sh [IMAGE@sha256:…]: plans a deployment of this image to production. It writes the plan to infra/plan.bin and, as
# Markdown, to plan.md. Without an image argument, the plan keeps the image from the last apply, because a pull
# request's image is never published. The script changes nothing in AWS, and does not lock the state. PRESET selects
# infra/PRESET.tfvars; TFVARS contains this environment's settings, as the text of a .tfvars file.
set -euo pipefail
image=${1:-}

printf '%s\n' "$TFVARS" > infra/environment.tfvars
terraform -chdir=infra init -input=false -backend-config="bucket=$STATE_BUCKET" -backend-config="region=$AWS_REGION"
if [[ -z $image ]]; then
  # Before the first apply, there is no image to keep, so use a placeholder.
  image=$(terraform -chdir=infra output -raw image 2> /dev/null) || image=none@sha256:$(printf '0%.0s' {1..64})
fi
terraform -chdir=infra plan -input=false -lock=false -var-file="${PRESET:-production}.tfvars" -var-file=environment.tfvars \
  -var "image=$image" -out=plan.bin > /dev/null
terraform -chdir=infra show -no-color plan.bin > infra/plan.txt
{
  printf '### Terraform plan\n\n```\n'
  # A comment can have up to 65,536 characters. Let `head` read from a file. If it read from a pipe, `terraform show`
  # would be killed by SIGPIPE.
  head -c 60000 infra/plan.txt
  printf '\n```\n'
} > plan.md
