# Sourced by the checks in this directory. Puts the required versions of their tools on the PATH. Missing tools are
# installed once, in $cache.
# shellcheck shell=bash
cache=${XDG_CACHE_HOME:-$HOME/.cache}/urlshort-checks

# install_once DIRECTORY COMMAND…: runs the command unless it has succeeded before.
install_once() {
  local directory=$1
  shift
  [[ -e $directory/.complete ]] && return
  printf 'installing %s\n' "${directory##*/}"
  mkdir -p "$directory"
  "$@" && touch "$directory/.complete"
}

# python_tool PACKAGE==VERSION…: installs packages from PyPI into a virtual environment that is named after the first
# package.
python_tool() {
  local home=$cache/$1
  # shellcheck disable=SC2016 # the inner shell expands the variables
  install_once "$home" sh -ec 'python3 -m venv "$0"; "$0/bin/pip" install -q --disable-pip-version-check "$@"' "$home" "$@"
  PATH=$home/bin:$PATH
}

# npm_tool PACKAGE@VERSION: installs an npm package.
npm_tool() {
  local home=$cache/${1//\//-}
  install_once "$home" npm install --silent --no-audit --no-fund --prefix "$home" "$1"
  PATH=$home/node_modules/.bin:$PATH
}

# cargo_tool CRATE VERSION: installs a program from crates.io.
cargo_tool() {
  local home=$cache/$1-$2
  install_once "$home" cargo install --locked -q --root "$home" "$1@$2"
  PATH=$home/bin:$PATH
}

# debian_tool COMMAND PACKAGE: installs a Debian package if the command is missing.
debian_tool() {
  local as_root=()
  command -v "$1" > /dev/null && return
  [[ $EUID -eq 0 ]] || as_root=(sudo)
  printf 'installing %s\n' "$2"
  "${as_root[@]}" apt-get update -q > /dev/null && "${as_root[@]}" apt-get install -y -q --no-install-recommends "$2" > /dev/null
}

# figure TEXT: reports TEXT, which tests/run.sh shows next to the check's name.
figure() { { printf '%s\n' "$*" >&3; } 2> /dev/null || printf '%s\n' "$*"; }
