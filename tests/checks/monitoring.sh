#!/usr/bin/env bash
# Checks the alert rules and routing with promtool and amtool.
#
#   tests/checks/monitoring.sh rules      syntax and unit tests of the rules
#   tests/checks/monitoring.sh routing    the receiver of each kind of alert
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/../../infra/monitoring"

rules() {
  promtool check rules --lint-fatal rules/*.yml
  promtool check config --lint-fatal prometheus.yml
  promtool test rules tests/*.yml
  # Print the check's figure.
  grep -c -e '- alert:' rules/*.yml | awk -F : '{ alerts += $2 } END { printf "%d alerts, ", alerts }' >&3
  grep -c -e '- name:' tests/*.yml | awk -F : '{ tests += $2 } END { printf "%d unit tests\n", tests }' >&3
}

# routed_to RECEIVER LABEL…: checks that an alert with these labels reaches only this receiver.
routed_to() {
  local receiver=$1
  shift
  amtool config routes test --config.file=alertmanager.yml --verify.receivers="$receiver" "$@"
}

routing() {
  amtool check-config alertmanager.yml
  routed_to page severity=page alertname=ErrorBudgetBurn1h subject=redirects job=urlshort
  routed_to page severity=page alertname=StoreDown subject=store job=urlshort
  routed_to ticket severity=ticket alertname=ErrorBudgetBurn3d subject=redirects job=urlshort
  routed_to ticket severity=ticket alertname=ClicksDropped subject=clicks job=urlshort
  # An alert without a severity becomes a ticket, so that it isn't lost.
  routed_to ticket alertname=Unknown
}

{ : >&3; } 2> /dev/null || exec 3>&1
"$1"
