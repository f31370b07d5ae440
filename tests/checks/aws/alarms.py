"""alarms.py RESOURCES: what a deployment does in made-up minutes, by the expressions of the rendered alarms.

A minute says how many requests each version gets and what becomes of them. From that follow the metrics that the load
balancer and the access log would have, from these the states of the alarms, and from those what ECS does: it goes on, or
back to the old version. An alarm that is on when a deployment starts makes ECS ignore the alarms, so that a broken service
can be mended.
"""

import ast
import json
import re
import sys
from pathlib import Path

REQUESTS = 600
# Minutes before the deployment, of the canary's bake and of the last one.
BEFORE, CANARY, BAKE = 5, 10, 10
CANARY_SHARE = 0.1
# The load balancer waits for an answer as long as its idle timeout.
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
    """CloudWatch's metric math, as far as the alarms use it. A missing value makes a sum or a quotient missing."""

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
        raise ValueError(f"unknown in metric math: {ast.dump(node)}")

    return value(ast.parse(expression, mode="eval").body)


def matches(pattern, line):
    """CloudWatch's filter pattern on a JSON log line, as far as the filters use it."""
    python = re.sub(r"\$\.(\w+)", r'line.get("\1", -1)', pattern.strip("{} "))
    python = re.sub(r"(?<![<>=!])=(?!=)", "==", python).replace("&&", " and ").replace("||", " or ")
    return bool(eval(python, {"line": line}))


def version(requests, five_xx=0.0, resets=0.0, hangs=0.0, refused=0.0, slow=0.0, redirects=1.0):
    """A version's minute: its requests, the share of each kind of failure, and the share of requests that are redirects."""
    return {"requests": requests, "five_xx": five_xx, "resets": resets, "hangs": hangs, "refused": refused, "slow": slow, "redirects": redirects}


def metrics_of(minutes, number, counts_refused):
    """What CloudWatch has of a minute, by metric and target group. Nothing that happened is no value, not zero."""
    minute = minutes[number]
    hung = minutes[number - HANG_MINUTES] if number >= HANG_MINUTES else {}
    data = {}

    def add(metric, group, amount):
        if amount > 0:
            for where in (group, None):
                data[metric, where] = data.get((metric, where), 0) + round(amount)

    lines = []
    for group, asked in minute.items():
        total = asked["requests"]
        refused, resets, hangs = (total * asked[kind] for kind in ("refused", "resets", "hangs"))
        answered = total - refused - resets - hangs
        # The documentation leaves open whether a request whose connection failed counts as one.
        add("RequestCount", group, total if counts_refused else total - refused)
        add("TargetConnectionErrorCount", group, refused)
        add("HTTPCode_Target_5XX_Count", group, answered * asked["five_xx"])
        data["HTTPCode_ELB_5XX_Count", None] = data.get(("HTTPCode_ELB_5XX_Count", None), 0) + round(refused + resets)
        redirects = answered * asked["redirects"]
        for amount, status, duration in (
            (redirects * asked["five_xx"], 503, 1.0),
            (redirects * asked["slow"], 302, 300.0),
            (redirects * (1 - asked["five_xx"] - asked["slow"]), 302, 0.5),
        ):
            lines.append((amount, {"msg": "request", "route": "/{key}", "status": status, "duration_ms": duration}))
        lines.append((answered * 0.2, {"msg": "request", "route": "/{key}", "status": 404, "duration_ms": 300.0}))
        lines.append((answered - redirects, {"msg": "request", "route": "/api/v1/links", "status": 200, "duration_ms": 5.0}))
    for asked in hung.values():
        data["HTTPCode_ELB_5XX_Count", None] = data.get(("HTTPCode_ELB_5XX_Count", None), 0) + round(asked["requests"] * asked["hangs"])
    for name, pattern in FILTERS.items():
        data[name, None] = round(sum(amount for amount, line in lines if matches(pattern, line)))
    return {key: amount for key, amount in data.items() if amount > 0}


def firing(alarm, minutes, number, counts_refused, groups):
    """Whether the alarm is on after a minute: enough of its last minutes are over the threshold."""
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


# A mocked provider gives each group a made-up suffix: its alarm tells whose it is.
GROUPS = {
    metric["dimensions"]["TargetGroup"]: name.removeprefix("errors-")
    for name, alarm in ALARMS.items() if name.startswith("errors-")
    for query in alarm["metric_query"] for metric in query["metric"]
}


def deploy(old, new, requests, counts_refused, after_shift=None):
    """Plays a deployment from blue to green. Returns what became of it, when, and which alarms were on."""
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
COURSES = [
    # what happens, old version, new version, requests a minute, what must come of it, within minutes
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
    # More than 99 % of its requests are fast, so that a percentile over all routes would not show it.
    ("few of the new version's requests are redirects, all slow", {"redirects": 0.009}, {"redirects": 0.009, "slow": 1.0}, 6000, "rolled back", 3),
    ("little traffic, new version answers 5xx", HEALTHY, {"five_xx": 1.0}, 60, "rolled back", 3),
    ("fails only under all requests", HEALTHY, HEALTHY, REQUESTS, "rolled back", CANARY + 3),
    ("old version fails, new one is well", {"five_xx": 0.5}, HEALTHY, REQUESTS, "promoted", None),
    ("old version resets connections, new one is well", {"resets": 0.5}, HEALTHY, REQUESTS, "promoted", None),
    # No alarm can see it: verify-canary.sh asks the test listener instead.
    ("no traffic, new version answers 5xx", HEALTHY, {"five_xx": 1.0}, 0, "promoted", None),
]

wrong, results, seen = 0, {"promoted": 0, "rolled back": 0}, set()
assert len(ALARMS) == 4 and len(FILTERS) == 2, "not the alarms of a deployment"
for counts_refused in (True, False):
    for what, old, new, requests, expected, within in COURSES:
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
print(f"{results['promoted']} promoted, {results['rolled back']} rolled back, {wrong} otherwise than expected")
sys.exit(wrong > 0)
