#!/usr/bin/env bash
# image-name.sh: the name of this repository's image. A registry takes lower case only, whatever the owner is called.
set -euo pipefail
printf 'ghcr.io/%s\n' "${GITHUB_REPOSITORY,,}"
