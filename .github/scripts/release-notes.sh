#!/usr/bin/env bash
# release-notes.sh VERSION: prints the changelog section for the version. The section must have a date and at least one
# entry.
set -euo pipefail
version=$1

# Print the section without its heading and the blank lines around it.
notes=$(awk -v heading="## [$version] - " '
  /^## / || /^\[[^]]+\]: / { inside = index($0, heading) == 1 && $0 ~ / - [0-9][0-9][0-9][0-9]-[0-9][0-9]-[0-9][0-9]$/; next }
  inside' CHANGELOG.md)
if ! grep -q '^- ' <<< "$notes"; then
  printf 'CHANGELOG.md has no section "## [%s] - YYYY-MM-DD" with an entry\n' "$version" >&2
  exit 1
fi
sed -e '/./,$!d' <<< "$notes"
