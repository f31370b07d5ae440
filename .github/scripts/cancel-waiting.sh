#!/usr/bin/env bash
# cancel-waiting.sh: cancels older deployments that are still waiting for approval. Approving one of them later would
# redeploy an old version.
set -euo pipefail

for workflow in ci.yml deploy.yml; do
  gh run list --repo "$GITHUB_REPOSITORY" --workflow "$workflow" --branch main --status waiting --json databaseId \
    --jq '.[].databaseId'
done | while read -r run; do
  if ((run < GITHUB_RUN_ID)); then gh run cancel "$run" --repo "$GITHUB_REPOSITORY"; fi
done
