"""alarms.py RESOURCES: simulates deployments minute by minute, using the expressions in the rendered alarms.

For each minute, the simulation knows the number of requests to each version and their outcomes. From these, it computes
the metrics of the load balancer and the access log. The metrics determine the state of each alarm, and the alarms decide
whether ECS continues or rolls back. If an alarm is already firing when a deployment starts, ECS ignores all alarms, so
that a broken service can be fixed.
"""

import ast
import json
import re
import sys
from pathlib import Path

REQUESTS = 600
# The length of each phase in minutes: before the deployment, the canary bake, and the final bake.
BEFORE, CANARY, BAKE = 5, 10, 10
CANARY_SHARE = 0.1
# The load balancer's idle timeout in minutes, which limits the wait for a response.
HANG_MINUTES = 1

RESOURCES = json.loads(Path(sys.argv[1]).read_text())
ALARMS = {
    resource["index"]: resource["values"]
    for resource in RESOURCES
    if (resource["type"], resource["name"]) == ("aws_cloudwatch_metric_alarm", "deployment")
}
FILTERS = {
    resource["index"]: resource["values"]["pattern"]
    for resource in RESOURCES
    if resource["type"] == "aws_cloudwatch_log_metric_filter"
}


def metric_math(expression, metrics):
    """Evaluates the subset of CloudWatch metric math that the alarms use. Missing values propagate."""

    def value(node):
        match node:
            case ast.Constant():
                return node.value
            case ast.Name():
                return metrics[node.id]
            case ast.Call(func=ast.Name("FILL"), args=[series, instead]):
                found = value(series)
                return value(instead) if found is None else found
            case ast.Call(func=ast.Name("IF"), args=[condition, then, otherwise]):
                return value(then) if value(condition) else value(otherwise)
            case ast.BinOp():
                left, right = value(node.left), value(node.right)
                if left is None or right is None:
                    return None
                operations = {ast.Add: lambda: left + right, ast.Mult: lambda: left * right, ast.Div: lambda: left / right}
                return operations[type(node.op)]()
            case ast.Compare(ops=[ast.GtE()], comparators=[other]):
                left = value(node.left)
                return left is not None and left >= value(other)
        raise ValueError(f"unsupported metric math: {ast.dump(node)}")

    return value(ast.parse(expression, mode="eval").body)


def matches(pattern, line):
    """Returns whether a CloudWatch filter pattern matches a JSON line. Supports only what the filters use."""
    python = re.sub(r"\$\.(\w+)", r'line.get("\1", -1)', pattern.strip("{} "))
    python = re.sub(r"(?<![<>=!])=(?!=)", "==", python).replace("&&", " and ").replace("||", " or ")
    return bool(eval(python, {"line": line}))


def version(requests, five_xx=0.0, resets=0.0, hangs=0.0, refused=0.0, slow=0.0, redirects=1.0):
    """Returns a version's traffic in one minute: the number of requests, and the share of each kind of outcome."""
    return {"requests": requests, "five_xx": five_xx, "resets": resets, "hangs": hangs, "refused": refused, "slow": slow, "redirects": redirects}


def metrics_of(minutes, number, counts_refused):
    """Returns CloudWatch's values for a minute, by metric and target group. A metric without events has no value."""
    minute = minutes[number]
    hung = minutes[number - HANG_MINUTES] if number >= HANG_MINUTES else {}
    data = {}

    def add(metric, group, amount):
        if amount > 0:
            for where in (group, None):
                data[metric, where] = data.get((metric, where), 0) + round(amount)

    lines = []
    for group, load in minute.items():
        total = load["requests"]
        refused, resets, hangs = (total * load[kind] for kind in ("refused", "resets", "hangs"))
        answered = total - refused - resets - hangs
        # The documentation doesn't say whether RequestCount includes requests whose connection failed.
        add("RequestCount", group, total if counts_refused else total - refused)
        add("TargetConnectionErrorCount", group, refused)
        add("HTTPCode_Target_5XX_Count", group, answered * load["five_xx"])
        data["HTTPCode_ELB_5XX_Count", None] = data.get(("HTTPCode_ELB_5XX_Count", None), 0) + round(refused + resets)
        redirects = answered * load["redirects"]
        for amount, status, duration in (
            (redirects * load["five_xx"], 503, 1.0),
            (redirects * load["slow"], 302, 300.0),
            (redirects * (1 - load["five_xx"] - load["slow"]), 302, 0.5),
        ):
            lines.append((amount, {"msg": "request", "route": "/{key}", "status": status, "duration_ms": duration}))
        lines.append((answered * 0.2, {"msg": "request", "route": "/{key}", "status": 404, "duration_ms": 300.0}))
        lines.append((answered - redirects, {"msg": "request", "route": "/api/v1/links", "status": 200, "duration_ms": 5.0}))
    for load in hung.values():
        data["HTTPCode_ELB_5XX_Count", None] = data.get(("HTTPCode_ELB_5XX_Count", None), 0) + round(load["requests"] * load["hangs"])
    for name, pattern in FILTERS.items():
        data[name, None] = round(sum(amount for amount, line in lines if matches(pattern, line)))
    return {key: amount for key, amount in data.items() if amount > 0}


def firing(alarm, minutes, number, counts_refused, groups):
    """Returns whether the alarm is firing after a minute, because enough of the last minutes exceed the threshold."""
    queries = alarm["metric_query"]
    (expression,) = [query["expression"] for query in queries if query["return_data"]]
    over = 0
    for past in range(max(0, number - int(alarm["evaluation_periods"]) + 1), number + 1):
        data = metrics_of(minutes, past, counts_refused)
        values = {}
        for query in queries:
            for metric in query["metric"]:
                suffix = (metric["dimensions"] or {}).get("TargetGroup")
                values[query["id"]] = data.get((metric["metric_name"], groups.get(suffix)))
        result = metric_math(expression, values)
        over += result is not None and result > alarm["threshold"]
    return over >= int(alarm["datapoints_to_alarm"])


# The mocked provider gives each target group a random suffix. The name of a group's alarm says which group it is.
GROUPS = {
    metric["dimensions"]["TargetGroup"]: name.removeprefix("errors-")
    for name, alarm in ALARMS.items() if name.startswith("errors-")
    for query in alarm["metric_query"] for metric in query["metric"]
}


def deploy(old, new, requests, counts_refused, after_shift=None):
    """Simulates a deployment from blue to green. Returns the outcome, when it occurred, and the alarms that fired."""
    minutes = [{"blue": version(requests, **old)} for _ in range(BEFORE)]
    ignored = [name for name, alarm in ALARMS.items() if firing(alarm, minutes, BEFORE - 1, counts_refused, GROUPS)]
    for minute in range(CANARY + BAKE):
        share = CANARY_SHARE if minute < CANARY else 1.0
        faults = after_shift if after_shift and minute >= CANARY else new
        minutes.append({"blue": version(requests * (1 - share), **old), "green": version(requests * share, **faults)})
        on = [name for name, alarm in ALARMS.items() if firing(alarm, minutes, len(minutes) - 1, counts_refused, GROUPS)]
        if on and not ignored:
            return "rolled back", minute + 1, on
    return "promoted", CANARY + BAKE, [f"{name} ignored" for name in ignored]


HEALTHY = {}
SCENARIOS = [
    # The columns: scenario, old version, new version, requests per minute, expected outcome, and the latest minute for
    # that outcome.
    ("healthy", HEALTHY, HEALTHY, REQUESTS, "promoted", None),
    ("one request in a thousand fails", {"five_xx": 0.001}, {"five_xx": 0.001}, REQUESTS, "promoted", None),
    ("no traffic", HEALTHY, HEALTHY, 0, "promoted", None),
    ("new version answers 5xx", HEALTHY, {"five_xx": 1.0}, REQUESTS, "rolled back", 3),
    ("new version answers 5xx to one request in twenty", HEALTHY, {"five_xx": 0.05}, REQUESTS, "rolled back", 3),
    ("new version resets connections", HEALTHY, {"resets": 1.0}, REQUESTS, "rolled back", 3),
    ("new version resets one connection in five", HEALTHY, {"resets": 0.2}, REQUESTS, "rolled back", 3),
    ("new version hangs", HEALTHY, {"hangs": 1.0}, REQUESTS, "rolled back", 4),
    ("new version accepts no connection", HEALTHY, {"refused": 1.0}, REQUESTS, "rolled back", 3),
    ("new version's redirects are slow", HEALTHY, {"slow": 1.0}, REQUESTS, "rolled back", 3),
    # More than 99 % of the requests are fast, so a percentile over all routes would not reveal the problem.
    ("few of the new version's requests are redirects, all slow", {"redirects": 0.009}, {"redirects": 0.009, "slow": 1.0}, 6000, "rolled back", 3),
    ("little traffic, new version answers 5xx", HEALTHY, {"five_xx": 1.0}, 60, "rolled back", 3),
    ("fails only under full load", HEALTHY, HEALTHY, REQUESTS, "rolled back", CANARY + 3),
    ("old version fails, new one is healthy", {"five_xx": 0.5}, HEALTHY, REQUESTS, "promoted", None),
    ("old version resets connections, new one is healthy", {"resets": 0.5}, HEALTHY, REQUESTS, "promoted", None),
    # Without traffic, no alarm can detect a failure. Instead, verify-canary.sh sends requests to the test listener.
    ("no traffic, new version answers 5xx", HEALTHY, {"five_xx": 1.0}, 0, "promoted", None),
]

wrong, results, seen = 0, {"promoted": 0, "rolled back": 0}, set()
assert len(ALARMS) == 4 and len(FILTERS) == 2, "unexpected number of deployment alarms or log filters"
for counts_refused in (True, False):
    for what, old, new, requests, expected, within in SCENARIOS:
        after = {"five_xx": 0.5} if what.startswith("fails only") else None
        outcome, minute, alarms = deploy(old, new, requests, counts_refused, after)
        right = outcome == expected and (within is None or minute <= within)
        wrong += not right
        results[outcome] += 1
        seen |= set(alarms) if outcome == "rolled back" else set()
        print(f"{'ok  ' if right else 'FAIL'} {what}: {outcome} after {minute} min {', '.join(alarms)}")
silent = set(ALARMS) - seen - {"errors-blue"}
if silent:
    wrong += 1
    print(f"never on: {silent}")
print(f"{results['promoted']} promoted, {results['rolled back']} rolled back, {wrong} unexpected")
sys.exit(wrong > 0)
