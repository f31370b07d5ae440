"""costs.py DIRECTORY: counts the resources of each preset, and computes their monthly cost without traffic.

The table in infra/README.md must have the same figures. Prices are the 2025 list prices for us-east-1, in US dollars. A
month has 730 hours.
"""

import json
import re
import sys
from pathlib import Path

HOURS = 730
# The `small` preset must cost less than this, in US dollars per month.
SMALL_LIMIT = 75


class Preset:
    def __init__(self, path):
        self.resources = [r for r in json.loads(path.read_text()) if r["mode"] == "managed"]
        self.kinds = {}
        for resource in self.resources:
            self.kinds.setdefault(resource["type"], []).append(resource["values"])

    def all(self, kind):
        return self.kinds.get(kind, [])

    def count(self, kind):
        return len(self.all(kind))

    def one(self, kind):
        (found,) = self.all(kind)
        return found


def fargate(preset):
    definition, service = preset.one("aws_ecs_task_definition"), preset.one("aws_ecs_service")
    cpu, memory = {"ARM64": (0.03238, 0.00356), "X86_64": (0.04048, 0.004445)}[definition["runtime_platform"][0]["cpu_architecture"]]
    return service["desired_count"] * HOURS * (int(definition["cpu"]) / 1024 * cpu + int(definition["memory"]) / 1024 * memory)


def database(preset):
    instances = {"db.t4g.micro": 0.016}
    cost = 0.0
    for cluster in preset.all("aws_rds_cluster"):
        cost += preset.count("aws_rds_cluster_instance") * HOURS * cluster["serverlessv2_scaling_configuration"][0]["min_capacity"] * 0.12
    for instance in preset.all("aws_db_instance"):
        cost += HOURS * instances[instance["instance_class"]] + instance["allocated_storage"] * 0.115
    return cost


def addresses(preset):
    """Returns the cost of public IPv4 addresses: two for the load balancer, and one per NAT gateway and public task."""
    service = preset.one("aws_ecs_service")
    tasks = service["desired_count"] if service["network_configuration"][0]["assign_public_ip"] else 0
    return HOURS * 0.005 * (2 + preset.count("aws_eip") + tasks)


def alarms(preset):
    """Returns the cost of alarms and of custom metrics from the log. Each metric that an alarm reads is charged."""
    read = sum(max(1, sum(len(query["metric"]) for query in alarm["metric_query"] or [])) for alarm in preset.all("aws_cloudwatch_metric_alarm"))
    scaling = 2 * preset.count("aws_appautoscaling_policy")
    return 0.10 * (read + scaling) + 0.30 * preset.count("aws_cloudwatch_log_metric_filter")


def insights(preset):
    """Returns the cost of Container Insights: about 20 metrics for the cluster, the service and the task family."""
    return 20 * 0.30 if preset.one("aws_ecs_cluster")["setting"][0]["value"] == "enabled" else 0.0


def prometheus(preset):
    """Returns the cost of 300 series from each of two tasks every 15 seconds, at 0.90 per ten million samples."""
    return preset.count("aws_prometheus_workspace") * (2 * 300 * 4 * 60 * HOURS / 1e7 * 0.90)


def keys_and_secrets(preset):
    """Returns the cost of two keys, two secrets, a hosted zone, and reading secrets twice a minute in each task."""
    return 2 * 1.0 + 2 * 0.40 + 0.50 + 2 * 2 * 60 * HOURS / 10000 * 0.05


LINES = {
    "database": database,
    "NAT gateway": lambda preset: preset.count("aws_nat_gateway") * HOURS * 0.045,
    "Fargate, two tasks": fargate,
    "load balancer": lambda preset: HOURS * 0.0225,
    "public IPv4 addresses": addresses,
    "WAF": lambda preset: sum(5.0 + len(acl["rule"]) for acl in preset.all("aws_wafv2_web_acl")),
    "alarms and their metrics": alarms,
    "Container Insights": insights,
    "Managed Prometheus": prometheus,
    "keys, secrets, hosted zone": keys_and_secrets,
    # The service, the database and the network together write half a GB of logs per month.
    "logs": lambda preset: 0.5 * 0.50 + 0.5 * 0.03,
}

wrong, totals, counts = [], {}, {}
presets = {name: Preset(Path(sys.argv[1]) / f"{name}.json") for name in ("production", "small")}
rows = {line: {name: price(preset) for name, preset in presets.items()} for line, price in LINES.items()}
for name, preset in presets.items():
    totals[name], counts[name] = sum(row[name] for row in rows.values()), len(preset.resources)
    if float(preset.one("aws_budgets_budget")["limit_amount"]) < totals[name]:
        wrong.append(f"{name}: costs {totals[name]:.0f}, more than its budget")
if totals["small"] >= SMALL_LIMIT:
    wrong.append(f"small costs {totals['small']:.2f}, not under {SMALL_LIMIT}")

rows["**total**"] = totals
readme = (Path(__file__).resolve().parents[3] / "infra/README.md").read_text()
for line, row in rows.items():
    cells = " | ".join(f"**{row[name]:.0f}**" if line.startswith("*") else f"{row[name]:.0f}" for name in presets)
    print(f"| {line} | {cells} |")
    if not re.search(rf"^\| {re.escape(line)}[^|]*\| {re.escape(cells)} \|$", readme, re.M):
        wrong.append(f"infra/README.md has a different figure for: {line}")
for name in presets:
    if f"{counts[name]} resources" not in readme:
        wrong.append(f"infra/README.md does not say that {name} has {counts[name]} resources")
for line in wrong:
    print(line)
print(", ".join(f"{name} {counts[name]} resources ${totals[name]:.2f}" for name in presets))
sys.exit(bool(wrong))
