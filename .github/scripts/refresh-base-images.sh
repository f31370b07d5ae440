#!/usr/bin/env bash
# Updates the Dockerfile's base images to the newest version of Rust and the current digests. Dependabot can't do that,
# because it doesn't read images from an ARG. The runtime image must have a signature from the distroless project.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/../.."

# current ARGUMENT: prints IMAGE:TAG from the `ARG ARGUMENT=IMAGE:TAG@DIGEST` line in the Dockerfile.
current() { sed -n "s/^ARG $1=\(.*\)@.*/\1/p" Dockerfile; }

# pin ARGUMENT IMAGE:TAG: sets ARGUMENT in the Dockerfile to IMAGE:TAG with the tag's current digest.
pin() {
  local image=$2 digest
  digest=$(skopeo inspect --raw "docker://$image" | sha256sum | sed 's/ .*//')
  [[ $1 != RUNTIME_IMAGE ]] || cosign verify "${image%:*}@sha256:$digest" \
    --certificate-oidc-issuer https://accounts.google.com \
    --certificate-identity keyless@distroless.iam.gserviceaccount.com > /dev/null
  sed -i "s|^\(ARG $1=\).*|\1$image@sha256:$digest|" Dockerfile
}

builder=$(current BUILDER_IMAGE)
repository=${builder%:*}
# Keep the variant, but take the newest version: 1.95.0-slim-bookworm becomes 1.96.0-slim-bookworm.
variant=${builder#"$repository:"}
variant=${variant#"${variant%%-*}"}
newest=$(skopeo list-tags "docker://$repository" |
  sed -n "s/^ *\"\([0-9]*\.[0-9]*\.[0-9]*\)$variant\",*$/\1/p" | sort -V | tail -n 1)
[[ -n $newest ]] || { printf 'no tag of %s is a version with the suffix %s\n' "$repository" "$variant" >&2; exit 1; }
pin BUILDER_IMAGE "$repository:$newest$variant"
pin RUNTIME_IMAGE "$(current RUNTIME_IMAGE)"
git diff --stat -- Dockerfile
