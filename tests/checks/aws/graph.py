"""graph.py GRAPH: uses Terraform's graph to check that the service starts after everything its first tasks need.

If something is missing, tasks exit or stay unhealthy. The circuit breaker then ends the first deployment, and there is
no earlier deployment to roll back to.
"""

import re
import sys
from pathlib import Path

NEEDS = {
    "a running database": ["aws_rds_cluster_instance.main", "aws_db_instance.main"],
    "its address and password": ["aws_rds_cluster.main", "data.aws_secretsmanager_secret.api_tokens"],
    "a route to the registry, Secrets Manager and CloudWatch": [
        "aws_nat_gateway.main", "aws_internet_gateway.main", "aws_route_table.private", "aws_route_table.public",
        "aws_route_table_association.private", "aws_route_table_association.public",
        "aws_vpc_security_group_egress_rule.tasks_to_apis",
    ],
    "a route to the database": [
        "aws_vpc_security_group_egress_rule.tasks_to_database", "aws_vpc_security_group_ingress_rule.database_from_tasks",
    ],
    "health checks by the load balancer": [
        "aws_vpc_security_group_egress_rule.alb_to_tasks", "aws_vpc_security_group_ingress_rule.tasks_from_alb",
        "aws_lb_listener_rule.service", "aws_lb_listener.https", "aws_lb_target_group.service",
    ],
    "policies of the roles that start tasks, run them and shift requests": [
        "aws_iam_role_policy.execution", "aws_iam_role_policy.task", "aws_iam_role_policy_attachment.infrastructure",
    ],
    "a log group": ["aws_cloudwatch_log_group.service"],
    "the alarms that roll it back": ["aws_cloudwatch_metric_alarm.deployment"],
}
# Other pairs of resources. AWS accepts the first resource of a pair only after the second exists.
BEFORE = [
    ("aws_rds_cluster_instance.main", "aws_iam_role_policy_attachment.database_monitoring"),
    ("aws_rds_cluster.main", "aws_cloudwatch_log_group.database"),
    ("aws_db_instance.main", "aws_cloudwatch_log_group.database"),
    ("aws_nat_gateway.main", "aws_internet_gateway.main"),
    ("aws_lb.main", "aws_s3_bucket_policy.access_logs"),
    ("aws_lb_listener.https", "aws_acm_certificate_validation.main"),
    ("aws_prometheus_alert_manager_definition.main", "aws_sns_topic_policy.tickets"),
    ("aws_budgets_budget.monthly", "aws_sns_topic_policy.alarms"),
]

edges = {}
for source, target in re.findall(r'^\s*"([^"]+)" -> "([^"]+)"', Path(sys.argv[1]).read_text(), re.M):
    edges.setdefault(source, set()).add(target)


def everything_before(resource):
    found, queue = set(), [resource]
    while queue:
        for target in edges.get(queue.pop(), set()) - found:
            found.add(target)
            queue.append(target)
    return found


assert edges, "the graph has no edges"
before = everything_before("aws_ecs_service.main")
missing = [f"{what}: {resource}" for what, resources in NEEDS.items() for resource in resources if resource not in before]
missing += [f"{later} needs {earlier}" for later, earlier in BEFORE if earlier not in everything_before(later)]
for line in missing:
    print(f"not a dependency: {line}")
print(f"{sum(map(len, NEEDS.values())) + len(BEFORE) - len(missing)} dependencies in order")
sys.exit(bool(missing))
