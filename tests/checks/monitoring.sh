#!/usr/bin/env bash
# The rules, their unit tests and the routing of alerts, by the tools of Prometheus and Alertmanager themselves.
#
#   tests/checks/monitoring.sh rules      syntax and unit tests of the rules
#   tests/checks/monitoring.sh routing    who is told of which alert
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/../../infra/monitoring"

rules() {
  promtool check rules --lint-fatal rules/*.yml
  promtool check config --lint-fatal prometheus.yml
  promtool test rules tests/*.yml
  # What was tested, for whoever reads the figure.
  grep -c -e '- alert:' rules/*.yml | awk -F : '{ alerts += $2 } END { printf "%d alerts, ", alerts }' >&3
  grep -c -e '- name:' tests/*.yml | awk -F : '{ tests += $2 } END { printf "%d unit tests\n", tests }' >&3
}

# told RECEIVER LABEL…: an alert with these labels reaches this receiver alone.
told() {
  local receiver=$1
  shift
  amtool config routes test --config.file=alertmanager.yml --verify.receivers="$receiver" "$@"
}

routing() {
  amtool check-config alertmanager.yml
  told page severity=page alertname=ErrorBudgetBurn1h subject=redirects job=urlshort
  told page severity=page alertname=StoreDown subject=store job=urlshort
  told ticket severity=ticket alertname=ErrorBudgetBurn3d subject=redirects job=urlshort
  told ticket severity=ticket alertname=ClicksDropped subject=clicks job=urlshort
  # What nobody has thought of waits for a working day, but is not lost.
  told ticket alertname=Unknown
}

{ : >&3; } 2> /dev/null || exec 3>&1
"$1"
