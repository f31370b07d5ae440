# A small VPC in two zones, unless var.vpc names an existing one. The load balancer and the NAT gateways are in public
# subnets, and the database is in private ones. Tasks run in private subnets, or in public ones to avoid NAT gateways.

locals {
  own_vpc = var.vpc == null
  zones   = local.own_vpc ? toset([for letter in var.zones : "${var.region}${letter}"]) : toset([])
  # Number the zones, so that each zone keeps its address range.
  zone_numbers = { for number, zone in sort(local.zones) : zone => number }
  nat_count    = var.public_tasks ? 0 : var.nat_gateway_per_zone ? length(local.zones) : min(1, length(local.zones))
  nat_zones    = toset(slice(sort(local.zones), 0, local.nat_count))

  vpc_id             = local.own_vpc ? aws_vpc.main[0].id : var.vpc.id
  public_subnet_ids  = local.own_vpc ? [for zone in sort(local.zones) : aws_subnet.public[zone].id] : var.vpc.public_subnet_ids
  private_subnet_ids = local.own_vpc ? [for zone in sort(local.zones) : aws_subnet.private[zone].id] : var.vpc.private_subnet_ids
}

resource "aws_vpc" "main" {
  #checkov:skip=CKV2_AWS_12: Nothing uses the default security group, and closing it would need permissions on other VPCs' groups
  count = local.own_vpc ? 1 : 0

  cidr_block           = var.vpc_cidr
  enable_dns_hostnames = true

  tags = { Name = var.name }
}

resource "aws_subnet" "public" {
  for_each = local.zones

  vpc_id            = aws_vpc.main[0].id
  availability_zone = each.key
  cidr_block        = cidrsubnet(var.vpc_cidr, 4, local.zone_numbers[each.key])

  tags = { Name = "${var.name}-public-${each.key}" }
}

resource "aws_subnet" "private" {
  for_each = local.zones

  vpc_id            = aws_vpc.main[0].id
  availability_zone = each.key
  cidr_block        = cidrsubnet(var.vpc_cidr, 4, 8 + local.zone_numbers[each.key])

  tags = { Name = "${var.name}-private-${each.key}" }
}

resource "aws_internet_gateway" "main" {
  count = local.own_vpc ? 1 : 0

  vpc_id = aws_vpc.main[0].id

  tags = { Name = var.name }
}

resource "aws_route_table" "public" {
  count = local.own_vpc ? 1 : 0

  vpc_id = aws_vpc.main[0].id

  route {
    cidr_block = "0.0.0.0/0"
    gateway_id = aws_internet_gateway.main[0].id
  }

  tags = { Name = "${var.name}-public" }
}

resource "aws_route_table_association" "public" {
  for_each = local.zones

  subnet_id      = aws_subnet.public[each.key].id
  route_table_id = aws_route_table.public[0].id
}

resource "aws_eip" "nat" {
  for_each = local.nat_zones

  domain = "vpc"

  tags = { Name = "${var.name}-nat-${each.key}" }
}

resource "aws_nat_gateway" "main" {
  for_each = local.nat_zones

  allocation_id = aws_eip.nat[each.key].id
  subnet_id     = aws_subnet.public[each.key].id

  tags = { Name = "${var.name}-${each.key}" }

  depends_on = [aws_internet_gateway.main]
}

resource "aws_route_table" "private" {
  for_each = local.zones

  vpc_id = aws_vpc.main[0].id

  dynamic "route" {
    for_each = local.nat_count == 0 ? [] : [contains(local.nat_zones, each.key) ? each.key : one(local.nat_zones)]

    content {
      cidr_block     = "0.0.0.0/0"
      nat_gateway_id = aws_nat_gateway.main[route.value].id
    }
  }

  tags = { Name = "${var.name}-private-${each.key}" }
}

resource "aws_route_table_association" "private" {
  for_each = local.zones

  subnet_id      = aws_subnet.private[each.key].id
  route_table_id = aws_route_table.private[each.key].id
}

resource "aws_flow_log" "rejected" {
  count = local.own_vpc ? 1 : 0

  vpc_id          = aws_vpc.main[0].id
  traffic_type    = "REJECT"
  log_destination = aws_cloudwatch_log_group.flow[0].arn
  iam_role_arn    = aws_iam_role.flow_log[0].arn
}
