#!/usr/bin/env bash
# verify-canary.sh CLUSTER SERVICE URL: waits until the test listener serves the new version of a running deployment,
# sends requests to it, and makes ECS roll back if more than 1 % of them fail. Without traffic, alarms can't detect a
# bad version. Tests override the number of requests with REQUESTS, and the waiting times in seconds with PAUSE and
# POLL.
set -euo pipefail
cluster=$1 service=$2 url=$3
requests=${REQUESTS:-300} pause=${PAUSE:-1} poll=${POLL:-10}
# Bash handles signals during `wait`, but not while a foreground command is running.
trap 'exit 0' TERM
wait_for() { sleep "$1" & wait $!; }

deployment=None
until [[ $deployment != None ]]; do
  deployment=$(aws ecs list-service-deployments --cluster "$cluster" --service "$service" --status PENDING IN_PROGRESS \
    --query 'sort_by(serviceDeployments, &createdAt)[-1].serviceDeploymentArn' --output text) || deployment=None
  [[ $deployment != None ]] || wait_for "$poll"
done
stage=''
until [[ $stage == POST_TEST_TRAFFIC_SHIFT || $stage == *PRODUCTION_TRAFFIC_SHIFT || $stage == BAKE_TIME ]]; do
  read -r status stage < <(aws ecs describe-service-deployments --service-deployment-arns "$deployment" \
    --query 'serviceDeployments[0].[status, lifecycleStage]' --output text) || true
  case ${status:-} in
    PENDING | IN_PROGRESS | '') wait_for "$poll" ;;
    *) printf 'canary: the deployment has ended: %s\n' "$status"; exit 0 ;;
  esac
done

# Alternate between a route that doesn't need the store and an unknown key, which is looked up in the store.
failed=0
for ((number = 0; number < requests; number++)); do
  if ((number % 2)); then path=/healthz expected=200; else path=/verify-canary-$RANDOM$RANDOM expected=404; fi
  code=$(curl -s -o /dev/null -w '%{http_code}' --max-time 5 "$url$path") || true
  [[ $code == "$expected" ]] || failed=$((failed + 1))
  # Stop early: further requests can't change the result.
  ((failed * 100 <= requests)) || break
  wait_for "$pause"
done
printf 'canary: %d of %d requests failed\n' "$failed" "$requests"
((failed * 100 > requests)) || exit 0
aws ecs stop-service-deployment --service-deployment-arn "$deployment" --stop-type ROLLBACK > /dev/null
printf 'canary: rolled back\n'
exit 1
