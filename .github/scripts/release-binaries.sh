#!/usr/bin/env bash
# release-binaries.sh IMAGE VERSION DIRECTORY: extracts the binaries from the image (a skopeo reference), and packs each
# with the licence and the examples. Users download exactly the bytes that were tested, scanned and signed.
set -euo pipefail
image=$1 version=$2 directory=$3
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

# extract ARCHITECTURE FILE: writes the image's binary for this architecture to FILE.
extract() {
  local layer
  skopeo copy --quiet --override-os linux --override-arch "$1" "$image" "dir:$work/$1"
  # The last layer that contains the binary wins.
  for layer in $(jq -r '.layers[].digest' "$work/$1/manifest.json"); do
    tar -xOf "$work/$1/${layer#sha256:}" --wildcards '*usr/local/bin/urlshort' > "$work/binary" 2> /dev/null || continue
    mv "$work/binary" "$2"
  done
  [[ -s $2 ]] || { printf 'no binary for %s in %s\n' "$1" "$image" >&2; exit 1; }
  chmod 755 "$2"
}

# check ARCHITECTURE FILE: checks that the binary is static and built for this architecture.
check() {
  local machine
  machine=$(LC_ALL=C readelf --file-header "$2" | sed -n 's/^ *Machine: *//p')
  case "$1 $machine" in
    'amd64 Advanced Micro Devices X86-64' | 'arm64 AArch64') ;;
    *) printf 'the binary for %s is built for %s\n' "$1" "$machine" >&2; exit 1 ;;
  esac
  if LC_ALL=C readelf --program-headers "$2" | grep -q INTERP; then
    printf 'the binary for %s is dynamically linked\n' "$1" >&2
    exit 1
  fi
}

mkdir -p "$directory"
for architecture in amd64 arm64; do
  case $architecture in amd64) name=x86_64 ;; arm64) name=aarch64 ;; esac
  name=urlshort-$version-$name-linux
  mkdir "$work/$name"
  extract "$architecture" "$work/$name/urlshort"
  check "$architecture" "$work/$name/urlshort"
  cp LICENSE CHANGELOG.md "$work/$name/"
  cp -r infra/examples "$work/$name/"
  # Make the archive reproducible: the same input gives the same bytes.
  tar --sort=name --mtime=@0 --owner=0 --group=0 --numeric-owner -C "$work" -cf - "$name" | gzip -n -9 > "$directory/$name.tar.gz"
done
# The binary for this machine must report the right version.
reported=$("$work/urlshort-$version-$(uname -m)-linux/urlshort" --version)
[[ $reported == "urlshort $version" ]] || { printf 'the binary reports %s\n' "$reported" >&2; exit 1; }
(cd "$directory" && sha256sum -- *.tar.gz > SHA256SUMS)
