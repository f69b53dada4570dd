# utils/stage.sh: sourced by egs/<corpus>/run.sh when its options are read; gives it `stage`.
# shellcheck shell=bash
# shellcheck disable=SC2154  # the options are declared in run.sh

if [ "$recipe" != "$(basename -- "$RECIPE_DIR")" ]; then
  _usage_error "--recipe $recipe: this is the recipe $(basename -- "$RECIPE_DIR"); use the run.sh at the top"
fi
if [ "$preset" = recipe ] || [ ! -f "$RECIPE_DIR/conf/$preset.yaml" ]; then
  presets=
  for file in "$RECIPE_DIR"/conf/*.yaml; do
    file=$(basename -- "$file" .yaml)
    case $file in recipe | '*') ;; *) presets+=" $file" ;; esac
  done
  _usage_error "--preset $preset: no such preset; presets of this recipe:${presets:- none}"
fi
work_dir=${work_dir:-$RECIPE_DIR}
common=(--config "$RECIPE_DIR/conf/recipe.yaml" --config "$RECIPE_DIR/conf/$preset.yaml"
  --nj "$nj" --seed "$seed" --storage "$storage" --device "$device")

# shellcheck source=path.sh
. "$RECIPE_DIR/../../path.sh" || exit

# stage NUMBER NAME [ARGUMENT ...]: python -m avsr.stages.NAME with the arguments, if --stage <= NUMBER <= --stop-stage
stage() {
  local number=$1 name=$2 start=$SECONDS code=0
  shift 2
  if [ "$number" -lt "$stage" ] || [ "$number" -gt "$stop_stage" ]; then return; fi
  set -- "$python" -m "avsr.stages.$name" "${common[@]}" "$@"
  if [ "$dry_run" = true ]; then
    printf '%q ' "$@" && echo
    return
  fi
  echo "=== stage $number $name ==="
  _run "$@" || code=$?
  echo "=== stage $number $name: ended (code $code) after $((SECONDS - start)) s ==="
  [ "$code" = 0 ] || exit "$code"
}

# no_stage NUMBER NAME WHY: says that this recipe has no work in a stage
no_stage() {
  if [ "$1" -lt "$stage" ] || [ "$1" -gt "$stop_stage" ] || [ "$dry_run" = true ]; then return; fi
  echo "=== stage $1 $2: no work in this recipe, $3 ==="
}

# Runs a command beside the shell and hands signals on to it: a run.sh that is told to stop leaves no stage behind.
_run() {
  local child code=0 stopped=0 signal=0
  "$@" <&0 &
  child=$!
  trap 'stopped=143 signal=TERM; kill -TERM "$child" 2>/dev/null || true' TERM HUP
  trap 'stopped=130 signal=INT; kill -INT "$child" 2>/dev/null || true' INT
  wait "$child" || code=$?
  while kill -0 "$child" 2>/dev/null; do # a signal ended the wait, not the stage
    sleep 1 || true
    # once more: bash starts its jobs with SIGINT ignored, so one that comes before Python has its handlers is lost
    kill -"$signal" "$child" 2>/dev/null || true
  done
  trap - TERM HUP INT
  [ "$stopped" = 0 ] || code=$stopped
  return "$code"
}
