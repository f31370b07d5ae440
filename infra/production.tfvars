# For a service that people rely on: no single zone or server stops it.
database           = "aurora"
public_tasks       = false
waf                = true
managed_prometheus = true
container_insights = true
max_tasks          = 10
monthly_budget_usd = 250
