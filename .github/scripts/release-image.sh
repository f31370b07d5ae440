#!/usr/bin/env bash
# release-image.sh DIGEST VERSION: gives the image with this digest the version as a tag, and `latest` if no version is newer. A
# version never moves to another image.
set -euo pipefail
digest=$1 version=$2
image=$(.github/scripts/image-name.sh)

# A failure to ask must not pass for a tag that is free.
tags=$(skopeo list-tags "docker://$image" | jq -r '.Tags[]')
if grep -qxF "$version" <<< "$tags"; then
  now=$(.github/scripts/image-digest.sh "$version")
  [[ $now == "$digest" ]] || { printf '%s:%s is another image already: %s\n' "$image" "$version" "$now" >&2; exit 1; }
fi
skopeo copy --all --preserve-digests "docker://$image@$digest" "docker://$image:$version"
newest=$({ grep -xE '[0-9]+\.[0-9]+\.[0-9]+' <<< "$tags" || true; echo "$version"; } | sort -V | tail -n 1)
if [[ $newest == "$version" ]]; then
  skopeo copy --all --preserve-digests "docker://$image@$digest" "docker://$image:latest"
fi
