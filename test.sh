#!/usr/bin/env bash
# Installs what is missing (Debian 12), builds everything and runs the tests.
set -euo pipefail
# shellcheck source=scripts/setup.sh
. "$(dirname "${BASH_SOURCE[0]}")/scripts/setup.sh"

with_model=
quick=
cmake_options=()
for argument in "$@"; do
  case $argument in
    --with-model) with_model=1 ;;
    --quick) quick=1 ;;
    -D?*=*) cmake_options+=("$argument") ;;
    -h | --help)
      cat <<'HELP'
Usage: ./test.sh [--with-model] [--quick] [-DNAME=VALUE...]

Installs what is missing with apt, builds carat in build/release and runs its
tests. Tests that need real weights run if the default model is in the cache
folder.
  --with-model   fetch it (240 MB, once)
  --quick        leave out the slow tests
  -DNAME=VALUE   for cmake: -DCARAT_CUDA=OFF leaves out the CUDA backend even if
                 there is a compiler for it
HELP
      exit 0
      ;;
    *) printf 'test.sh: unknown flag %s; see ./test.sh --help\n' \
      "'$argument'" >&2; exit 2 ;;
  esac
done

# xz-utils: some golden data is compressed.
need_packages "${build_packages[@]}" xz-utils
model=$(default_model)
if [ ! -e "$model" ] && [ -n "$with_model" ]; then fetch_model; fi
if [ -e "$model" ]; then
  say "Tests of real weights use $model"
else
  say "Tests that need real weights are skipped: ./test.sh --with-model fetches them"
fi
build all "-DCARAT_REAL_MODEL=$model" "${cmake_options[@]}"
say "Running the tests"
cd "$build_folder"
ctest --output-on-failure ${quick:+-LE slow}
