#!/usr/bin/env bash
# check-pullable.sh DIGEST: checks that Fargate can pull the image. A new package on GHCR is private, so every task
# would fail with a 403. If TFVARS sets registry_credentials_secret_arn, Fargate logs in to the registry, which this
# script can't check.
set -euo pipefail
digest=$1

if grep -qE '^[[:space:]]*registry_credentials_secret_arn[[:space:]]*=' <<< "$TFVARS"; then
  printf 'private image: tasks pull it with the credentials in registry_credentials_secret_arn\n'
elif ! skopeo inspect --no-creds --raw "docker://$(.github/scripts/image-name.sh)@$digest" > /dev/null; then
  printf '::error::The image is not public: make the package public, or set registry_credentials_secret_arn in TFVARS (infra/README.md, step 4)\n'
  exit 1
fi
