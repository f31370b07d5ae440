#!/usr/bin/env bash
# Builds the version that a rollback would restore, and prints the path of its binary. Later runs reuse the binary.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/../.."

# The commit of the last release, 1.0.0.
previous=f5b0adbaead524423f1ed5cad932209edb9daa46

binary=target/previous/$previous/urlshort
if [[ ! -x $binary ]]; then
  # Don't instrument the previous version for coverage, as the tests of this version may be.
  unset RUSTFLAGS CARGO_ENCODED_RUSTFLAGS CARGO_TARGET_DIR RUSTC_WRAPPER RUSTC_WORKSPACE_WRAPPER LLVM_PROFILE_FILE
  source=$(mktemp -d)
  trap 'rm -rf "$source"' EXIT
  git cat-file -e "$previous^{commit}" || git fetch -q --depth 1 origin "$previous"
  git archive "$previous" | tar -x -C "$source"
  # With a different package name, the build can share compiled dependencies without replacing the binary under test.
  sed -i 's/^name = "urlshort"$/name = "urlshort-previous"/; /^default-run/d' "$source"/Cargo.{toml,lock}
  printf '\n[lib]\nname = "urlshort"\n' >> "$source/Cargo.toml"
  cargo build -q --locked --manifest-path "$source/Cargo.toml" --bin urlshort-previous --target-dir target
  mkdir -p "${binary%/*}"
  cp target/debug/urlshort-previous "$binary.partial"
  mv "$binary.partial" "$binary"
fi
realpath "$binary"
