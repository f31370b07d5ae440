#!/usr/bin/env bash
# image-digest.sh TAG: the digest of the manifest for all architectures that the tag of this repository's image names.
set -euo pipefail
manifest=$(mktemp)
trap 'rm -f "$manifest"' EXIT
skopeo inspect --raw "docker://$(.github/scripts/image-name.sh):$1" > "$manifest"
printf 'sha256:%s\n' "$(sha256sum < "$manifest" | cut -d ' ' -f 1)"
