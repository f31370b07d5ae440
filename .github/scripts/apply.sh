#!/usr/bin/env bash
# apply.sh IMAGE@sha256:…: brings the infrastructure to what infra/ says, with this image, and waits for the deployment.
# STATE_BUCKET is where the state is kept, TFVARS the environment's settings as the text of a .tfvars file.
set -euo pipefail
image=$1

printf '%s\n' "$TFVARS" > infra/environment.auto.tfvars
terraform -chdir=infra init -input=false -backend-config="bucket=$STATE_BUCKET"
terraform -chdir=infra plan -input=false -lock-timeout=10m -var "image=$image" -out=plan.bin
terraform -chdir=infra apply -input=false -lock-timeout=10m plan.bin
