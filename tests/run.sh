#!/usr/bin/env bash
# Installs the tools that are missing on this machine, then runs all checks of this repository:
#
#   tests/run.sh          everything
#   tests/run.sh quick    for use during development: format, lints, and the tests that start no servers
#
# Needs Debian or Ubuntu with Rust and a C compiler. Prints one line per check, then the output of the failed checks.
set -uo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.." || exit
logs=$(mktemp -d)
trap 'rm -rf "$logs"' EXIT

# check NAME COMMAND…: runs the command with its output in a file, and prints the result. The command can write a figure
# for the result line to file descriptor 3.
check() {
  local name=$1 start=$SECONDS verdict=ok
  shift
  "$@" > "$logs/$name" 2>&1 3> "$logs/$name.figure" || verdict=FAIL
  echo "$name" >> "$logs/$verdict"
  printf '%-4s %5ds  %-24s %s\n' "$verdict" $((SECONDS - start)) "$name" "$(< "$logs/$name.figure")"
}

finish() {
  local failed=()
  wait
  touch "$logs/ok" "$logs/FAIL"
  mapfile -t failed < "$logs/FAIL"
  for name in "${failed[@]}"; do
    printf '\n=== %s\n' "$name"
    cat "$logs/$name"
  done
  printf '\n%d passed, %d failed\n' "$(wc -l < "$logs/ok")" "${#failed[@]}"
  exit $((${#failed[@]} > 0))
}

# missing COMMAND NAME: succeeds if the command is missing, after printing that NAME will be installed.
missing() {
  ! command -v "$1" > /dev/null && printf 'installing %s\n' "$2"
}

as_root() {
  if [[ $EUID -eq 0 ]]; then "$@"; else sudo "$@"; fi
}

# apt PACKAGE…: installs Debian packages, and prints apt-get's output only if it fails.
apt() {
  { as_root apt-get update -q && as_root apt-get install -y -q --no-install-recommends "$@"; } > "$logs/apt" 2>&1 ||
    { cat "$logs/apt"; exit 1; }
}

cargo_install() {
  cargo install --locked -q "$@" > "$logs/cargo-install" 2>&1 || { cat "$logs/cargo-install"; exit 1; }
}

# Finds the LLVM tools for rustc's coverage data: rustup's if installed, otherwise Debian's for the same LLVM version.
find_llvm_tools() {
  local llvm bundled
  bundled=$(rustc --print sysroot)/lib/rustlib/$(rustc -vV | sed -n 's/^host: //p')/bin
  [[ -x $bundled/llvm-cov ]] && return
  llvm=$(rustc -vV | sed -n 's/^LLVM version: \([0-9]*\).*/\1/p')
  missing "llvm-cov-$llvm" "llvm-$llvm (coverage)" && apt "llvm-$llvm"
  export LLVM_COV=llvm-cov-$llvm LLVM_PROFDATA=llvm-profdata-$llvm
}

lints() { cargo clippy --locked --all-targets -- -D warnings; }
docs() { RUSTDOCFLAGS='-D warnings' cargo doc --locked --no-deps --document-private-items; }
# If NO_SERVERS is set, a test that starts a server fails. Add the modules of such tests to this list.
tests_without_servers() {
  local module skipped=()
  for module in alerting canary causes clients crash damage hostile instances monitoring outage pooler promotion restore \
    retries rollback rolling rotation servers silence take_down; do
    skipped+=(--skip "$module::")
  done
  skipped+=(--skip postgres --skip redis --skip on_every_instance)
  cargo test --locked --lib && NO_SERVERS=1 cargo test --locked --test it -- "${skipped[@]}"
}
unchanged_work_tree() {
  local now
  now=$(git status --porcelain)
  diff <(echo "$work_tree") <(echo "$now")
}
tests_and_coverage() {
  # A process that a test has killed can leave an incomplete profile.
  cargo llvm-cov test --locked --no-report &&
    cargo llvm-cov report --failure-mode all --fail-under-lines 80 --summary-only --json > "$logs/coverage.json"
  local status=$?
  grep -o '"lines":{[^}]*}' "$logs/coverage.json" | tail -n 1 | sed 's/.*"percent":\([0-9.]*\).*/\1 % of lines/' >&3
  return "$status"
}

work_tree=$(git status --porcelain)
check format cargo fmt --check
check lints lints
if [[ ${1:-} == quick ]]; then
  check tests-without-servers tests_without_servers
  finish
fi

missing curl curl && apt curl ca-certificates
# The tests start their own servers. They never use the servers that Debian starts on installation.
[[ -d /usr/lib/postgresql ]] || { missing initdb 'postgresql (a store)' && apt postgresql; }
missing redis-server 'redis-server (a store)' && apt redis-server
missing promtool 'prometheus (rules)' && apt prometheus
missing amtool 'prometheus-alertmanager (routing)' && apt prometheus-alertmanager
missing pgbouncer 'pgbouncer (a connection pooler)' && apt pgbouncer
missing haproxy 'haproxy (rolling restart)' && apt haproxy
missing sqlite3 'sqlite3 (backup)' && apt sqlite3
find_llvm_tools
missing cargo-llvm-cov 'cargo-llvm-cov (coverage)' && cargo_install cargo-llvm-cov
check docs docs
check previous-version tests/checks/previous.sh
check tests-and-coverage tests_and_coverage
check api-schema tests/checks/schemathesis.sh
check fuzz tests/checks/fuzz.sh
check soak env BINARY=target/debug/urlshort tests/soak.sh 0.5 sqlite postgres
check examples tests/checks/examples.sh
check shell tests/checks/shell.sh
missing chromium 'chromium (pages)' && apt chromium
# Linking the image's binary takes minutes on one core, so the image check runs in the background. The checks that run
# at the same time have generous timeouts, and install no Debian packages, because only one process at a time can do
# that.
check image tests/checks/image.sh &
check workflows tests/checks/workflows.sh
check pages tests/checks/browser.sh
check rules tests/checks/monitoring.sh rules
check alert-routing tests/checks/monitoring.sh routing
check deny tests/checks/deny.sh
check dockerfile tests/checks/dockerfile.sh
check terraform tests/checks/terraform.sh
check checkov tests/checks/checkov.sh
check aws-order tests/checks/aws.sh order
check aws-policies tests/checks/aws.sh policies
check aws-alarms tests/checks/aws.sh alarms
check aws-costs tests/checks/aws.sh costs
check aws-scripts tests/checks/aws.sh scripts
wait
check work-tree unchanged_work_tree
finish
