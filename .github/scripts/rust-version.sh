#!/usr/bin/env bash
# rust-version.sh: the version of Rust that the image is built with, for the checks to use the same.
set -euo pipefail
sed -n 's/^ARG BUILDER_IMAGE=.*rust:\([0-9.]*\)-.*/\1/p' Dockerfile | grep .
