#!/usr/bin/env bash
# image-name.sh: the name of this repository's image. A registry accepts lower case only.
set -euo pipefail
printf 'ghcr.io/%s\n' "${GITHUB_REPOSITORY,,}"
