#!/usr/bin/env bash
# verify-image.sh IMAGE@sha256:…: that this very image was built and signed by ci.yml on main, and nothing else.
set -euo pipefail
image=$1
repository=https://github.com/urlshort/urlshort

[[ $image =~ ^[a-z0-9./-]+@sha256:[0-9a-f]{64}$ ]] || { printf 'not an image by digest: %s\n' "$image" >&2; exit 1; }
cosign verify "$image" \
  --certificate-identity "$repository/.github/workflows/ci.yml@refs/heads/main" \
  --certificate-oidc-issuer https://token.actions.githubusercontent.com
gh attestation verify "oci://$image" --repo urlshort/urlshort \
  --cert-identity "$repository/.github/workflows/ci.yml@refs/heads/main"
