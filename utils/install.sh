#!/usr/bin/env bash
# Makes .venv and installs in it what setup.cfg declares, in the versions of conf/constraints.txt.
# Costs nothing where that is done; goes on where it was interrupted; done anew when either file has changed.
# usage: utils/install.sh [test]                   test: what utils/test.sh needs as well
# AVSR_PYTHON=<interpreter>: that one is used as it is; nothing is installed, and what it lacks is named.

set -eu
root=$(dirname -- "$(dirname -- "$(readlink -f -- "${BASH_SOURCE[0]}")")")
venv=$root/.venv
log=$venv/install.log
extra=${1:-}

say() { printf 'install: %s\n' "$*" >&2; }
die() { say "$*"; exit 1; }

fits() { # the interpreter runs and is one of ours
  "$1" -c 'import sys; sys.exit(not (3, 10) <= sys.version_info[:2] <= (3, 13))' 2>/dev/null
}

lacks() { # lacks PYTHON EXTRA ...: the names on one line
  local python=$1
  shift
  "$python" "$root/utils/requirements.py" --missing "$@" | sed 's/[<>=].*//' | paste -sd ' ' -
}

use_existing() {
  command -v -- "$1" >/dev/null || die "AVSR_PYTHON: there is no interpreter '$1'"
  fits "$1" || die "AVSR_PYTHON: '$1' is no Python 3.10 to 3.13"
  local names
  names=$(lacks "$1" ${extra:+"$extra"})
  [ -z "$names" ] || die "AVSR_PYTHON: '$1' lacks: $names"
  [ -z "$(lacks "$1" pesq)" ] || say "'$1' lacks pesq: PESQ cells will say 'no pesq'"
}

find_python() { # sets $found
  local candidate tried=
  while IFS= read -r candidate; do
    if fits "$candidate"; then
      found=$candidate
      return
    fi
    tried+=" $candidate ($("$candidate" -V 2>&1 | head -n 1));"
  done < <(type -ap python3 python3.13 python3.12 python3.11 python3.10 python)
  die "Python 3.10 to 3.13 is needed;${tried:- none is on PATH}${tried:+ do not fit}"
}

make_venv() {
  if fits "$venv/bin/python"; then return; fi
  ! "$venv/bin/python" -c '' 2>/dev/null || die "$venv is no Python 3.10 to 3.13: remove it and run again"
  local output
  find_python
  say "making $venv with $found"
  output=$("$found" -m venv --clear "$venv" 2>&1) && return
  case $output in
    *'No space left'*) die "disk full: free space for $venv (2 GB, 6 GB with the CUDA build of torch)" ;;
    *ensurepip*) die "$found has no ensurepip to make $venv with: install python3-venv, or set AVSR_PYTHON" ;;
    *) die "$found cannot make $venv: $(tail -n 1 <<<"$output")" ;;
  esac
}

why_pip_failed() {
  if grep -q 'No space left' "$log"; then
    echo "disk full (2 GB are needed, 6 GB with the CUDA build of torch): free space in $venv and ${TMPDIR:-/tmp}"
  elif grep -qiE 'NewConnectionError|name resolution|Max retries|Connection (refused|broken|aborted)|timed out' "$log"; then
    echo "no network: pip does not reach its package index"
  else
    grep -E '^ *(ERROR|error):' "$log" | tail -n 1 || echo "pip failed"
  fi
}

install() { # install REQUIREMENT ...
  "$venv/bin/python" -m pip install --disable-pip-version-check --no-input -c "$root/conf/constraints.txt" "$@" \
    >"$log" 2>&1
}

install_packages() {
  local key requirement requirements=()
  key=$(cat "$root/conf/constraints.txt" "$root/setup.cfg" | cksum)
  if [ "$(cat "$venv/installed-${extra:-base}" 2>/dev/null)" = "$key" ]; then return; fi
  [ "$(cat "$venv/installed-base" 2>/dev/null)" = "$key" ] || rm -f "$venv"/installed-*
  "$venv/bin/python" -m pip --version >/dev/null 2>&1 || "$venv/bin/python" -m ensurepip >/dev/null 2>&1 ||
    die "$venv has no pip and cannot get it: install python3-venv, remove $venv, run again"
  while IFS= read -r requirement; do
    requirements+=("$requirement")
  done < <("$venv/bin/python" "$root/utils/requirements.py" ${extra:+"$extra"})
  say "installing packages, 1 to 10 minutes (log: $log)"
  install "${requirements[@]}" || die "$(why_pip_failed); run again to go on (log: $log)"
  echo "$key" >"$venv/installed-base"
  [ -z "$extra" ] || echo "$key" >"$venv/installed-$extra"
}

install_pesq() { # the only package without a wheel; all else works without it
  local compiler='' name without="PESQ cells will say 'no pesq'"
  if [ -e "$venv/installed-pesq" ]; then return; fi
  for name in ${CC:+"$CC"} cc gcc clang; do
    if [ -z "$compiler" ]; then compiler=$(command -v -- "$name" || true); fi
  done
  if [ -z "$compiler" ]; then
    say "no C compiler, so no pesq: $without; put one in and run again to have them"
    return
  fi
  if [ "$(cat "$venv/unbuilt-pesq" 2>/dev/null)" = "$compiler $(headers)" ]; then
    say "pesq did not build, $without (log: $venv/pesq.log; to try again: rm $venv/unbuilt-pesq)"
    return
  fi
  say "building pesq"
  if CC=$compiler install pesq; then
    : >"$venv/installed-pesq"
    rm -f "$venv/unbuilt-pesq"
  else
    cp "$log" "$venv/pesq.log"
    say "pesq does not build, $without: $(why_pip_failed) (log: $venv/pesq.log)"
    why_pip_failed | grep -q '^no network' || echo "$compiler $(headers)" >"$venv/unbuilt-pesq"
  fi
}

headers() { # says whether Python's own C headers are there: without them nothing builds
  "$venv/bin/python" -c 'import os, sysconfig; print(os.path.exists(sysconfig.get_path("include") + "/Python.h"))'
}

if [ -n "${AVSR_PYTHON:-}" ]; then
  use_existing "$AVSR_PYTHON"
  exit
fi
exec 9<"$root/conf/constraints.txt" # two runs at a time: the second waits for the first
flock 9 2>/dev/null || true
make_venv
install_packages
install_pesq
