#!/usr/bin/env bash
# plan.sh [IMAGE@sha256:…]: plans production with this image into infra/plan.bin, and shows the plan as Markdown in plan.md.
# Without an image it keeps the one of the last apply: a pull request's own image is never published. It only reads, and
# takes no lock.
# PRESET names infra/PRESET.tfvars; TFVARS is the environment's own settings, as the text of a .tfvars file.
set -euo pipefail
image=${1:-}

printf '%s\n' "$TFVARS" > infra/environment.tfvars
terraform -chdir=infra init -input=false -backend-config="bucket=$STATE_BUCKET" -backend-config="region=$AWS_REGION"
if [[ -z $image ]]; then
  # Before the first apply there is none.
  image=$(terraform -chdir=infra output -raw image 2> /dev/null) || image=none@sha256:$(printf '0%.0s' {1..64})
fi
terraform -chdir=infra plan -input=false -lock=false -var-file="${PRESET:-production}.tfvars" -var-file=environment.tfvars \
  -var "image=$image" -out=plan.bin > /dev/null
terraform -chdir=infra show -no-color plan.bin > infra/plan.txt
{
  printf '### Terraform plan\n\n```\n'
  # A comment holds 65,536 characters. From a file, because `head` on a pipe would end a longer plan with SIGPIPE.
  head -c 60000 infra/plan.txt
  printf '\n```\n'
} > plan.md
