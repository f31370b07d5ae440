# The same service for a third of the price. If the database's zone fails, no links can be created and only those in
# memory redirect. No firewall blocks floods, and there are only CloudWatch alarms.
database           = "instance"
public_tasks       = true
waf                = false
managed_prometheus = false
container_insights = false
# The smallest database accepts about 80 connections. A task opens at most 9, and a deployment doubles the tasks.
max_tasks          = 4
monthly_budget_usd = 90
