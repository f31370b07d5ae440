#!/usr/bin/env bash
# verify-image.sh DIGEST: checks that ci.yml on this repository's main branch built and signed the image.
set -euo pipefail
digest=$1
workflow=https://github.com/$GITHUB_REPOSITORY/.github/workflows/ci.yml@refs/heads/main

[[ $digest =~ ^sha256:[0-9a-f]{64}$ ]] || { printf 'not a digest: %s\n' "$digest" >&2; exit 1; }
image=$(.github/scripts/image-name.sh)@$digest
cosign verify "$image" --certificate-identity "$workflow" \
  --certificate-oidc-issuer https://token.actions.githubusercontent.com
gh attestation verify "oci://$image" --repo "$GITHUB_REPOSITORY" --cert-identity "$workflow"
