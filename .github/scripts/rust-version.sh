#!/usr/bin/env bash
# rust-version.sh: prints the Rust version that builds the image, so that the checks use the same version.
set -euo pipefail
sed -n 's/^ARG BUILDER_IMAGE=.*rust:\([0-9.]*\)-.*/\1/p' Dockerfile | grep .
