#!/usr/bin/env bash
# Shows carat at work: installs what is missing (Debian 12), builds, fetches the
# default model, Gemma 3 270M, and lets it continue a text. Flags are handed to
# `carat generate`.
set -euo pipefail
# shellcheck source=scripts/setup.sh
. "$(dirname "${BASH_SOURCE[0]}")/scripts/setup.sh"

case ${1:-} in
  -h | --help)
    cat <<'HELP'
Usage: ./demo.sh [FLAGS]

Installs what is missing with apt, builds carat in build/release, fetches the
default model (240 MB, once) into the cache folder and continues the text in
examples/lighthouse.txt. FLAGS go to `carat generate`:
  ./demo.sh --max-tokens 400 --temperature 0.8 --seed 3
HELP
    exit 0
    ;;
esac

need_packages "${build_packages[@]}"
build carat_tool
model=$(default_model)
if [ -e "$model" ]; then
  say "The default model is in $model"
else
  say "Fetching the default model, Gemma 3 270M"
  fetch_model
fi

prompt=$repository/examples/lighthouse.txt
say "Continuing examples/lighthouse.txt, which ends:"
printf '\n...%s' "$(tail -n 1 "$prompt")"
if [ -t 1 ] && [ -z "${NO_COLOR:-}" ]; then printf '\033[1m'; fi
status=0
"$build_folder/carat" generate --model "$model" --prompt-file "$prompt" \
  --max-tokens 160 --repeat-penalty 1.1 "$@" || status=$?
if [ -t 1 ] && [ -z "${NO_COLOR:-}" ]; then printf '\033[0m'; fi
[ "$status" -eq 0 ] || exit "$status"
printf '\n'
say "Now your own: ${build_folder#"$repository"/}/carat generate \"Once upon a time\""
