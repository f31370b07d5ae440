#!/usr/bin/env bash
# image-name.sh: prints the name of this repository's image. Registries accept only lower-case names.
set -euo pipefail
printf 'ghcr.io/%s\n' "${GITHUB_REPOSITORY,,}"
