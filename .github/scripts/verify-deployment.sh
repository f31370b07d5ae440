#!/usr/bin/env bash
# verify-deployment.sh DIGEST: checks that the service runs the image with this digest, and that the last deployment was
# not rolled back. After a rollback, the previous version is running, but Terraform may not detect any drift.
set -euo pipefail
digest=$1
cluster=$(terraform -chdir=infra output -raw cluster_name)
service=$(terraform -chdir=infra output -raw service_name)

status=$(aws ecs list-service-deployments --cluster "$cluster" --service "$service" \
  --query 'sort_by(serviceDeployments, &createdAt)[-1].status' --output text)
definition=$(aws ecs describe-services --cluster "$cluster" --services "$service" \
  --query 'services[0].taskDefinition' --output text)
running=$(aws ecs describe-task-definition --task-definition "$definition" \
  --query "taskDefinition.containerDefinitions[?name=='urlshort'].image" --output text)

printf 'deployment %s, running %s\n' "$status" "$running"
[[ $status == SUCCESSFUL && $running == "$(.github/scripts/image-name.sh)@$digest" ]]
