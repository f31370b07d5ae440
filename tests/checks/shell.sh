#!/usr/bin/env bash
# Every shell script is clean to shellcheck, and every file that says it is a program can be run.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/../.."
source tests/checks/tools.sh

debian_tool shellcheck shellcheck
mapfile -t scripts < <(git ls-files -z --cached --others --exclude-standard | xargs -0 grep -lE '^#!.*\b(ba)?sh$' --)
((${#scripts[@]} > 0))
shellcheck --external-sources --severity=warning "${scripts[@]}" tests/checks/tools.sh
for script in "${scripts[@]}"; do
  [[ -x $script ]] || { printf '%s can not be run\n' "$script"; exit 1; }
done
