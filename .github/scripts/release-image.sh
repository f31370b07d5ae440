#!/usr/bin/env bash
# release-image.sh DIGEST VERSION: tags the image with the version, and with `latest` if there is no newer version. A
# version tag never moves to another image.
set -euo pipefail
digest=$1 version=$2
image=$(.github/scripts/image-name.sh)

# Assign the tags to a variable first, so that a failure to list them ends the script. If the list were piped into grep,
# a failure would make the version look unused.
tags=$(skopeo list-tags "docker://$image" | jq -r '.Tags[]')
if grep -qxF "$version" <<< "$tags"; then
  now=$(.github/scripts/image-digest.sh "$version")
  [[ $now == "$digest" ]] || { printf '%s:%s already points to another image: %s\n' "$image" "$version" "$now" >&2; exit 1; }
fi
skopeo copy --all --preserve-digests "docker://$image@$digest" "docker://$image:$version"
newest=$({ grep -xE '[0-9]+\.[0-9]+\.[0-9]+' <<< "$tags" || true; echo "$version"; } | sort -V | tail -n 1)
if [[ $newest == "$version" ]]; then
  skopeo copy --all --preserve-digests "docker://$image@$digest" "docker://$image:latest"
fi
