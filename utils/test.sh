#!/usr/bin/env bash
# Sets the toolkit up as run.sh does, then runs ruff, shellcheck and the tests.
# usage: utils/test.sh [--name value ...] [-- WORDS FOR PYTEST]

slow=false   # true: runs the tests that take minutes too
lint=true    # false: pytest alone

set -eu
ROOT=$(dirname -- "$(dirname -- "$(readlink -f -- "${BASH_SOURCE[0]}")")")
rest_of_line=pytest
# shellcheck source=utils/parse_options.sh
. "$ROOT/utils/parse_options.sh"
# shellcheck disable=SC2034  # read by path.sh
extras="test"
# shellcheck source=path.sh
. "$ROOT/path.sh" || exit
cd -- "$ROOT"

linters=0 tests=0
if [ "$lint" = true ]; then
  "$python" -m ruff check . || linters=1
  shellcheck -x run.sh path.sh utils/*.sh egs/*/run.sh .ci/run || linters=1
fi
if [ "$slow" = true ]; then slow_tests=(); else slow_tests=(-m "not slow"); fi
"$python" -m pytest ${slow_tests[@]+"${slow_tests[@]}"} "$@" || tests=$?
if [ "$linters" != 0 ]; then echo "test.sh: the linters complain, see above the tests" >&2; fi
exit $((tests ? tests : linters))
