#!/usr/bin/env bash
# release-check.sh TAG: checks that the tag can be released. It must have the form vX.Y.Z and point to a commit on main.
# Cargo.toml, Cargo.lock, the changelog and the examples must have the same version.
set -euo pipefail
tag=$1
version=${tag#v}

refuse() {
  printf '%s: %s\n' "$tag" "$1" >&2
  exit 1
}

[[ $tag =~ ^v(0|[1-9][0-9]*)\.(0|[1-9][0-9]*)\.(0|[1-9][0-9]*)$ ]] || refuse 'a release tag is vX.Y.Z'
git merge-base --is-ancestor "$tag^{commit}" origin/main || refuse 'its commit is not on main'
grep -qx "version = \"$version\"" Cargo.toml || refuse 'Cargo.toml has a different version'
grep -A 1 -x 'name = "urlshort"' Cargo.lock | grep -qx "version = \"$version\"" || refuse 'Cargo.lock has a different version'
.github/scripts/release-notes.sh "$version" > /dev/null || refuse 'the changelog has no entry for it'
for example in infra/examples/compose.yaml infra/examples/kubernetes.yaml; do
  grep -qE "image: [^ ]+/urlshort:${version//./\\.}$" "$example" || refuse "$example has a different version"
done
