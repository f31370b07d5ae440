# The same service for a third of the price. A failure of the database's zone stops new links and unpopular ones, no firewall
# blocks floods, and CloudWatch's alarms are the only ones.
database           = "instance"
public_tasks       = true
waf                = false
managed_prometheus = false
container_insights = false
# The smallest database takes about 80 connections. A task has at most 9, and a deployment doubles the tasks.
max_tasks          = 4
monthly_budget_usd = 90
