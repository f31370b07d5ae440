#!/usr/bin/env bash
# propose.sh BRANCH TITLE FILE…: opens a pull request with the changes to the files, if there are any.
set -euo pipefail
branch=$1 title=$2
shift 2

git diff --quiet -- "$@" && exit 0
git switch -c "$branch"
git -c user.name='github-actions[bot]' -c user.email='41898282+github-actions[bot]@users.noreply.github.com' \
  commit -m "$title" -- "$@"
gh auth setup-git
git push --force origin "$branch"
[[ -n $(gh pr list --head "$branch" --state open --json number --jq '.[].number') ]] ||
  gh pr create --head "$branch" --title "$title" --body 'Opened by the scheduled workflow.'
gh workflow run ci.yml --ref "$branch"
