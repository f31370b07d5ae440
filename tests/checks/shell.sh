#!/usr/bin/env bash
# Lints every shell script with shellcheck, and checks that each one is executable.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/../.."
source tests/checks/tools.sh

debian_tool shellcheck shellcheck
mapfile -t scripts < <(git ls-files -z --cached --others --exclude-standard | xargs -0 grep -lE '^#!.*\b(ba)?sh$' --)
((${#scripts[@]} > 0))
shellcheck --external-sources --severity=warning "${scripts[@]}" tests/checks/tools.sh
for script in "${scripts[@]}"; do
  [[ -x $script ]] || { printf '%s is not executable\n' "$script"; exit 1; }
done
