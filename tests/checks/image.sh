#!/usr/bin/env bash
# Checks that the image has the expected contents, builds reproducibly, and works as uid 65532 on a read-only root:
#
#   tests/checks/image.sh              builds the image twice from scratch
#   tests/checks/image.sh ARCHIVE      checks an existing image, in the format of `docker save`
#
# Builds and runs the image with docker or podman. On a machine without a container engine, set BUILD_IMAGE to a
# program. The script then builds the image with `$BUILD_IMAGE CONTEXT TAG ARCHIVE`, and runs the image in a chroot,
# which needs root and buildah.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/../.."
source tests/checks/tools.sh
work=$(mktemp -d)
container='' running=''
clean_up() {
  [[ -z $running ]] || kill -KILL "$running"
  [[ -z $container ]] || case $engine in
    chroot) buildah rm "$container" ;;
    *) "$engine" rm -f -v "$container" ;;
  esac > /dev/null
  rm -rf "$work"
}
trap clean_up EXIT

fail() {
  printf 'image: %s\n' "$*" >&2
  [[ ! -s $work/log ]] || cat "$work/log" >&2
  exit 1
}

# wait_for SECONDS COMMAND…: retries the command until it succeeds, and fails after SECONDS.
wait_for() {
  local end=$((SECONDS + $1))
  shift
  until "$@"; do
    ((SECONDS < end)) || fail "waited in vain for: $*"
    sleep 0.1
  done
}

if [[ -n ${BUILD_IMAGE:-} ]]; then
  engine=chroot
elif docker info > /dev/null 2>&1; then
  engine=docker
elif command -v podman > /dev/null; then
  engine=podman
else
  fail 'needs docker, podman or BUILD_IMAGE'
fi
[[ $engine != chroot ]] || debian_tool ip iproute2

# build CONTEXT ARCHIVE: builds the image from scratch, with every timestamp set to the Unix epoch.
build() {
  case $engine in
    chroot) "$BUILD_IMAGE" "$1" localhost/urlshort:check "$2" ;;
    docker) SOURCE_DATE_EPOCH=0 docker buildx build --no-cache --provenance=false \
      --output "type=docker,name=localhost/urlshort:check,dest=$2,rewrite-timestamp=true" "$1" ;;
    podman)
      podman build --no-cache --format docker --timestamp 0 -t localhost/urlshort:check "$1"
      podman save -o "$2" localhost/urlshort:check
      ;;
  esac
}

# own_layers ARCHIVE: prints the layers to compare. BUILD_IMAGE builds a new base layer each time, so that layer is left
# out. With a container engine, the base image is pinned by digest.
own_layers() { python3 tests/checks/image.py "$1" --layers | if [[ $engine == chroot ]]; then tail -n +2; else cat; fi; }

# start, address, execute, stop: control the service in the image. The service does not inherit this script's
# environment.
start_chroot() {
  local command root
  container=$(buildah from -q --pull-never "docker-archive:$archive")
  root=$(buildah mount "$container")
  # The stand-in for the base image has libraries. Remove them, because the real base image has none.
  rm -rf "$root/usr/lib" "$root/usr/lib64"
  mkdir -p "$root/proc" "$root/dev"
  printf 'nameserver 127.0.0.1\n' > "$root/etc/resolv.conf"
  cp -a "$root/data" "$work/data"
  mapfile -t command < <(python3 tests/checks/image.py "$archive" --command)
  # "${enter[@]}" NAME=VALUE… "${program[@]}" ARGUMENT…: runs the program on a read-only root.
  # shellcheck disable=SC2016 # the inner shell expands the variables
  enter=(unshare --mount sh -ec 'mount --bind "$0" "$0"; mount -o remount,bind,ro "$0"
    mount --bind "$1" "$0/data"; mount --rbind /proc "$0/proc"; mount --rbind /dev "$0/dev"
    shift; exec env -i "$@"' "$root" "$work/data" "${command[@]:1}" HOST=127.0.0.1)
  program=("$(command -v chroot)" --userspec=65532:65532 "$root" "${command[0]}")
  "${enter[@]}" PORT=0 "${program[@]}" > "$work/log" 2>&1 &
  running=$!
}
address_chroot() { sed -n '/"listening"/s/.*"address":"\([^"]*\)".*/\1/p' "$work/log" | grep .; }
execute_chroot() { "${enter[@]}" "PORT=${address##*:}" "${program[@]}" "$@"; }
stop_chroot() {
  local process=$running
  running=''
  kill -TERM "$process" && wait "$process"
}

start_engine() {
  local image
  image=$("$engine" load -q -i "$archive" | sed -n 's/^Loaded image[^:]*: //p')
  container=$("$engine" run -d --read-only --cap-drop ALL --security-opt no-new-privileges -v /data \
    -p 127.0.0.1::8080 "$image")
}
address_engine() { "$engine" port "$container" 8080/tcp; }
execute_engine() { "$engine" exec "$container" /usr/local/bin/urlshort "$@"; }
stop_engine() {
  "$engine" stop --time 30 "$container" > /dev/null && [[ $("$engine" inspect -f '{{.State.ExitCode}}' "$container") == 0 ]]
}

call() { if [[ $engine == chroot ]]; then "$1_chroot" "${@:2}"; else "$1_engine" "${@:2}"; fi; }

archive=${1:-$work/first.tar}
if [[ $# -eq 0 ]]; then
  # Build from a copy as well: neither the location nor the timestamps of the sources may affect the image.
  mkdir "$work/copy"
  tar --exclude ./target --exclude ./.git -cf - . | tar -C "$work/copy" -xmf -
  build . "$archive"
  build "$work/copy" "$work/second.tar"
  diff <(own_layers "$archive") <(own_layers "$work/second.tar") || fail 'a second build made other layers'
fi
size=$(python3 tests/checks/image.py "$archive")

call start
wait_for 30 call address > /dev/null
address=$(call address)
wait_for 30 curl -fsS -o /dev/null "http://$address/healthz"
short=$(curl -fsS -H 'Accept: text/plain' -d url=https://example.com/ -d key=image "http://$address/shorten")
[[ $short == */image ]] || fail "a short URL, not '$short'"
target=$(curl -fsS -o /dev/null -w '%{http_code} %{redirect_url}' "http://$address/image")
[[ $target == '302 https://example.com/' ]] || fail "a redirect, not '$target'"
call execute healthcheck || fail 'the health check does not pass'
call stop || fail 'SIGTERM did not end it with exit status 0'
if [[ $engine == chroot ]]; then
  # Check name resolution, because the program's libc might need files that the image does not have.
  # shellcheck disable=SC2016 # the inner shell expands the variables
  unshare --net sh -ec 'ip link set lo up; exec python3 "$@"' sh tests/checks/resolver.py \
    "${enter[@]}" STORE_URL=postgres://user@database.test/links "${program[@]}" || fail 'host names are not looked up'
else
  printf 'host names: looked up only where BUILD_IMAGE builds the image\n'
fi
! call execute healthcheck 2> /dev/null || fail 'the health check passes without a service'
figure "$size"
