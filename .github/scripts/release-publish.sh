#!/usr/bin/env bash
# release-publish.sh TAG DIGEST DIRECTORY: creates the GitHub release with all files in the directory. Its notes are the
# changelog section for the version. The release becomes visible only after all files are uploaded.
set -euo pipefail
tag=$1 digest=$2 directory=$3
version=${tag#v}

(cd "$directory" && sha256sum --check --strict SHA256SUMS)
{
  .github/scripts/release-notes.sh "$version"
  # shellcheck disable=SC2016 # Markdown backticks
  printf '\nImage: `%s:%s@%s`. To verify it and the binaries, see [SECURITY](%s/blob/%s/.github/SECURITY.md).\n' \
    "$(.github/scripts/image-name.sh)" "$version" "$digest" "https://github.com/$GITHUB_REPOSITORY" "$tag"
} > notes.md
gh release create "$tag" "$directory"/* --repo "$GITHUB_REPOSITORY" --verify-tag --title "$version" --notes-file notes.md
