#!/usr/bin/env bash
# verify-canary.sh CLUSTER SERVICE URL: waits until the test listener reaches the new version of a running deployment, sends
# it requests, and has ECS roll it back if more than 1 % of them fail. Alarms can't judge a version that nobody uses.
# REQUESTS, PAUSE and POLL (seconds) are for tests.
set -euo pipefail
cluster=$1 service=$2 url=$3
requests=${REQUESTS:-300} pause=${PAUSE:-1} poll=${POLL:-10}
# Unless a job is waited for, a shell handles signals only when its command has ended.
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
    *) printf 'canary: the deployment is over: %s\n' "$status"; exit 0 ;;
  esac
done

# Alternately a route without the store, and a link that does not exist, which asks the store.
failed=0
for ((number = 0; number < requests; number++)); do
  if ((number % 2)); then path=/healthz expected=200; else path=/verify-canary-$RANDOM$RANDOM expected=404; fi
  answer=$(curl -s -o /dev/null -w '%{http_code}' --max-time 5 "$url$path") || true
  [[ $answer == "$expected" ]] || failed=$((failed + 1))
  # Enough have failed; the rest make no difference.
  ((failed * 100 <= requests)) || break
  wait_for "$pause"
done
printf 'canary: %d of %d requests failed\n' "$failed" "$requests"
((failed * 100 > requests)) || exit 0
aws ecs stop-service-deployment --service-deployment-arn "$deployment" --stop-type ROLLBACK > /dev/null
printf 'canary: rolled back\n'
exit 1
