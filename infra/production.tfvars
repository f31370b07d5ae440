# For a service that people rely on. It survives the loss of any single zone or server.
database           = "aurora"
public_tasks       = false
waf                = true
managed_prometheus = true
container_insights = true
max_tasks          = 10
monthly_budget_usd = 250
