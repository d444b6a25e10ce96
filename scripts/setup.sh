# Sourced by demo.sh and test.sh: installs what is missing and builds.
# shellcheck shell=bash

repository=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
build_folder=$repository/build/release

log=$(mktemp)
trap 'rm -f "$log"' EXIT

say() { printf '==> %s\n' "$*"; }
fail() {
  printf '%s: %s\n' "$(basename "$0")" "$*" >&2
  exit 1
}

as_root() {
  if [ "$(id -u)" -eq 0 ]; then "$@"; else sudo "$@"; fi
}

# Is the Debian package $1 there, or what it is wanted for? A compiler from
# elsewhere is as good as the packaged one.
is_installed() {
  case $1 in
    g++) command -v g++ >/dev/null ;;
    cmake) command -v cmake >/dev/null ;;
    ninja-build) command -v ninja >/dev/null ;;
    python3) command -v python3 >/dev/null ;;
    python3-pip) python3 -m pip --version >/dev/null 2>&1 ;;
    *) dpkg-query -W -f '${db:Status-Status}' "$1" 2>/dev/null |
      grep -qx installed ;;
  esac
}

# Installs those of the named Debian packages that are missing.
need_packages() {
  local missing=() package
  if ! command -v apt-get >/dev/null; then
    say "This is no Debian: these packages are expected to be there: $*"
    return
  fi
  for package in "$@"; do
    is_installed "$package" || missing+=("$package")
  done
  if [ ${#missing[@]} -eq 0 ]; then
    say "All needed packages are installed"
    return
  fi
  if [ "$(id -u)" -ne 0 ] && ! command -v sudo >/dev/null; then
    fail "there is no sudo; as root, run: apt-get install ${missing[*]}"
  fi
  say "Installing ${missing[*]}"
  as_root apt-get update -qq || fail "apt-get update failed"
  as_root env DEBIAN_FRONTEND=noninteractive apt-get install -y -qq \
    --no-install-recommends "${missing[@]}" >"$log" 2>&1 ||
    { tail -n 20 "$log" >&2; fail "apt-get install failed"; }
}

# shellcheck disable=SC2034  # used by those who source this
build_packages=(g++ cmake ninja-build nlohmann-json3-dev libcli11-dev
  libcurl4-openssl-dev libfmt-dev libssl-dev libutf8proc-dev libgtest-dev)

# build TARGET [CMAKE FLAGS...]: configures the release preset and builds.
build() {
  local target=$1
  shift
  say "Building $target in ${build_folder#"$repository"/}"
  (
    cd "$repository" || fail "cannot enter $repository"
    # What an earlier call chose is not remembered.
    cmake --preset release -DCARAT_CUDA=AUTO -UCARAT_CUDA_ARCHITECTURES "$@" \
      >"$log" 2>&1 ||
      { cat "$log" >&2; fail "cmake failed"; }
    cmake --build --preset release --target "$target"
  )
}

# Where scripts/fetch_model.py puts the default model.
default_model() {
  local cache=${XDG_CACHE_HOME:-}
  case $cache in /*) ;; *) cache=$HOME/.cache ;; esac
  printf '%s' "$cache/carat/gemma-3-270m-q4_k_m.gguf"
}

fetch_model() {
  need_packages python3 python3-pip
  python3 "$repository/scripts/fetch_model.py"
}
