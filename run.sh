#!/usr/bin/env bash
# Runs a recipe: egs/<recipe>/run.sh, mini where --recipe names none. All options are handed on; --help prints them.

set -eu
root=$(dirname -- "$(readlink -f -- "${BASH_SOURCE[0]}")")
recipe=mini
previous=
for word in "$@"; do
  case $word in --recipe=*) recipe=${word#*=} ;; esac
  case $previous in --recipe) recipe=$word ;; esac
  previous=$word
done
script=$root/egs/$recipe/run.sh
if [[ ! $recipe =~ ^[A-Za-z0-9_-]+$ || ! -f $script ]]; then # a name only: .. would be this very script
  recipes=$(cd -- "$root/egs" && echo */run.sh)
  echo "run.sh: --recipe $recipe: no such recipe; recipes: ${recipes//\/run.sh/}" >&2
  exit 2
fi
exec bash "$script" "$@"
