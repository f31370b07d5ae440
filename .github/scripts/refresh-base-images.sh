#!/usr/bin/env bash
# Pins the digests that the Dockerfile's base images have today. The runtime's has to be signed by distroless itself.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/../.."

# refresh ARGUMENT: in the Dockerfile's line ARG ARGUMENT=IMAGE:TAG@DIGEST, the digest.
refresh() {
  local image digest
  image=$(sed -n "s/^ARG $1=\(.*\)@.*/\1/p" Dockerfile)
  digest=$(skopeo inspect --raw "docker://$image" | sha256sum | sed 's/ .*//')
  [[ $1 != RUNTIME_IMAGE ]] || cosign verify "${image%:*}@sha256:$digest" \
    --certificate-oidc-issuer https://accounts.google.com \
    --certificate-identity keyless@distroless.iam.gserviceaccount.com > /dev/null
  sed -i "s|^\(ARG $1=$image@\).*|\1sha256:$digest|" Dockerfile
}

refresh BUILDER_IMAGE
refresh RUNTIME_IMAGE
git diff --stat -- Dockerfile
