#!/usr/bin/env bash
# shipped-changes.sh FROM TO: prints true if the commits from FROM to TO change what runs in production, and false
# otherwise. If FROM is not a known commit, as on a new branch, the script prints true.
set -euo pipefail
from=$1 to=$2

if ! git cat-file -e "$from^{commit}" 2> /dev/null || ! git diff --quiet "$from" "$to" -- .cargo .github/scripts \
  .github/workflows Cargo.lock Cargo.toml Dockerfile src 'infra/*.tf' 'infra/*.tfvars' infra/rds-ca infra/monitoring/rules \
  infra/monitoring/alertmanager.yml; then
  printf 'true\n'
else
  printf 'false\n'
fi
