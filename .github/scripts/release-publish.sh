#!/usr/bin/env bash
# release-publish.sh TAG DIGEST DIRECTORY: makes the GitHub release with every file of the directory, and notes that the
# changelog has for the version. It shows once all files are there.
set -euo pipefail
tag=$1 digest=$2 directory=$3
version=${tag#v}

(cd "$directory" && sha256sum --check --strict SHA256SUMS)
{
  .github/scripts/release-notes.sh "$version"
  # shellcheck disable=SC2016 # backquotes of Markdown
  printf '\nImage: `%s:%s@%s`. How to verify it and the programs: [SECURITY](%s/blob/%s/.github/SECURITY.md).\n' \
    "$(.github/scripts/image-name.sh)" "$version" "$digest" "https://github.com/$GITHUB_REPOSITORY" "$tag"
} > notes.md
gh release create "$tag" "$directory"/* --repo "$GITHUB_REPOSITORY" --verify-tag --title "$version" --notes-file notes.md
