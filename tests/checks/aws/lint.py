"""lint.py DIRECTORY: lints the rendered policies with parliament. Each finding must be accepted here, with a reason."""

import json
import sys
from pathlib import Path

import parliament

ACCEPTED = {
    # The read permissions and the permissions boundary use "*", because most of their calls don't support ARNs.
    ('aws_iam_policy.github["plan-read"]', "RESOURCE_STAR"),
    ('aws_iam_policy.github["deploy-read"]', "RESOURCE_STAR"),
    ("aws_iam_policy.boundary", "RESOURCE_STAR"),
    # An action on several resource types has one statement per type. The simulation shows that, together, the
    # statements are sufficient.
    ('aws_iam_policy.github["deploy-network"]', "RESOURCE_MISMATCH"),
    ('aws_iam_policy.github["deploy-data"]', "RESOURCE_MISMATCH"),
    ('aws_iam_policy.github["deploy-compute"]', "RESOURCE_MISMATCH"),
    # A deployment creates the bucket for the load balancer's logs, so it must be able to set the bucket's policy.
    ('aws_iam_policy.github["deploy-data"]', "RESOURCE_POLICY_PRIVILEGE_ESCALATION"),
    # Not every call includes the condition key, so the policy uses StringEqualsIfExists.
    ('aws_iam_policy.github["deploy-compute"]', "UNKNOWN_CONDITION_FOR_ACTION"),
    # ecs:StopServiceDeployment is newer than the linter, but the simulation knows it.
    ('aws_iam_policy.github["deploy-compute"]', "UNKNOWN_ACTION"),
    # The statement uses an ARN without wildcards.
    ('aws_iam_policy.github["deploy-roles"]', "MISMATCHED_TYPE_BUT_USABLE"),
}

found, policies = {}, 0
for name in ("bootstrap", "production", "small"):
    for resource in json.loads((Path(sys.argv[1]) / f"{name}.json").read_text()):
        if resource["type"] in ("aws_iam_policy", "aws_iam_role_policy"):
            policies += 1
            for finding in parliament.analyze_policy_string(resource["values"]["policy"]).findings:
                found.setdefault((resource["address"], finding.issue), []).append(finding.detail)
unknown = {key for key, details in found.items() if key not in ACCEPTED} | {
    (address, str(details)) for (address, issue), details in found.items()
    if issue == "UNKNOWN_ACTION" and any("ecs:StopServiceDeployment" not in str(detail) for detail in details)
}
for address, issue in sorted(unknown):
    print(f"{address}: {issue}: {found.get((address, issue))}")
for address, issue in sorted(ACCEPTED - set(found)):
    print(f"accepted, but no longer found: {address}: {issue}")
print(f"{policies} policies, {len(found)} findings accepted")
sys.exit(bool(unknown or ACCEPTED - set(found)))
