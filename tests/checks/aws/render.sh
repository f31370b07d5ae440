# Sourced by tests/checks/aws.sh: renders the Terraform configuration with a mocked provider.
# shellcheck shell=bash

export CHECKPOINT_DISABLE=1 TF_IN_AUTOMATION=1 TF_CLI_ARGS=-no-color

# render DIRECTORY: writes production.json, small.json and bootstrap.json, which contain the resources that an apply
# would create, and graph.dot, which contains the order of their creation.
render() {
  command -v terraform > /dev/null || { printf 'needs terraform 1.11 or newer\n'; return 1; }
  cp -r infra "$1/infra"
  find "$1/infra" -name .terraform -prune -exec rm -rf {} +
  # `terraform graph` needs an available backend, so use a local one.
  printf 'terraform {\n  backend "local" {}\n}\n' > "$1/infra/backend_override.tf"
  # shellcheck disable=SC2016 # the inner shell expands the variables
  ${TERRAFORM_SCHEMA:-} sh -ec '
    cd "$0/infra"
    terraform init -input=false > /dev/null
    terraform graph > "$0/graph.dot"
    terraform test -json -verbose -var-file=production.tfvars -filter=tests/security.tftest.hcl > "$0/production.log"
    terraform test -json -verbose -var-file=small.tfvars -test-directory=tests/small > "$0/small.log"
    cd bootstrap
    terraform init -input=false > /dev/null
    terraform test -json -verbose > "$0/bootstrap.log"' "$1"
  # Use the state after the first test in each file, because that test has the default settings.
  python3 - "$1" << 'PYTHON'
import json, sys
from pathlib import Path

for name in ("production", "small", "bootstrap"):
    with (Path(sys.argv[1]) / f"{name}.log").open() as log:
        state = next(line["test_state"] for line in map(json.loads, log) if line["type"] == "test_state")
    resources = [
        {key: resource.get(key) for key in ("address", "mode", "type", "name", "index", "values")}
        for resource in state["root_module"]["resources"]
    ]
    (Path(sys.argv[1]) / f"{name}.json").write_text(json.dumps(resources))
PYTHON
}
