# The same service for a third of the price. If the database's zone fails, no links can be created, and only links in
# the tasks' memory redirect. There is no firewall against floods, and the only alerts are CloudWatch alarms.
database           = "instance"
public_tasks       = true
waf                = false
managed_prometheus = false
container_insights = false
# The smallest database accepts about 80 connections. Each task opens at most 9, and a deployment doubles the number of
# tasks.
max_tasks          = 4
monthly_budget_usd = 90
