#!/usr/bin/env bash
# image-digest.sh TAG: prints the digest of this repository's multi-architecture image with this tag.
set -euo pipefail
manifest=$(mktemp)
trap 'rm -f "$manifest"' EXIT
skopeo inspect --raw "docker://$(.github/scripts/image-name.sh):$1" > "$manifest"
printf 'sha256:%s\n' "$(sha256sum < "$manifest" | cut -d ' ' -f 1)"
