# path.sh: the environment of all scripts, and of a shell that sources it: . ./path.sh && python -m avsr.models
# shellcheck shell=bash
# `python` is then the one of .venv, which is made if need be (utils/install.sh), or the one that AVSR_PYTHON names.

AVSR_ROOT=$(dirname -- "$(readlink -f -- "${BASH_SOURCE[0]}")")

# one order of sorting everywhere; one thread a process, for the stages make processes (--nj)
export LC_ALL=C OMP_NUM_THREADS=1
case :${PYTHONPATH:-}: in
  *":$AVSR_ROOT:"*) ;;
  *) export PYTHONPATH=$AVSR_ROOT${PYTHONPATH:+:$PYTHONPATH} ;;
esac

# a dry run needs nothing installed; extras: what setup.cfg names beyond the needs of the recipes
if [ "${dry_run:-false}" != true ]; then
  bash "$AVSR_ROOT/utils/install.sh" ${extras:+"$extras"} || return
fi
python=$AVSR_ROOT/.venv/bin/python
if [ -n "${AVSR_PYTHON:-}" ]; then
  python=$(command -v -- "$AVSR_PYTHON" || echo "$AVSR_PYTHON")
  [[ $python == /* ]] || python=$PWD/$python
fi
case :$PATH: in
  *":$(dirname -- "$python"):"*) ;;
  *) PATH=$(dirname -- "$python"):$PATH ;;
esac
