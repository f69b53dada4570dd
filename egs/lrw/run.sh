#!/usr/bin/env bash
# The LRW recipe: lip reading of single words, which trains the front-end of all other recipes (AE-MSR Table 1).
# usage: ./run.sh --recipe lrw --corpus-dir LRW [--name value ...]

stage=1         # first stage to run, 1 to 9
stop_stage=9    # last stage to run
corpus_dir=     # the LRW corpus, which holds lipread_mp4
work_dir=       # data/, dump/, exp/, RESULTS.md go here; not given: the recipe's folder, and RESULTS.md into its exp/
nj=$(env -u OMP_NUM_THREADS nproc) # processes side by side
seed=0          # of every random choice
device=cpu      # cpu or cuda
preset=base     # conf/<preset>.yaml: base (the papers, with a GPU), mini (generated words, CPU), smoke (for tests)
protocol=lrw    # how the corpus is split: lrw, its own train, val and test
systems=        # only these systems, as "p3d50 petridis"; all of the preset where not given
storage=hdf5    # of crops and video features: hdf5 or ark
checkpoint=     # stage 9: scores this checkpoint in a row of its own, on the same lists
publish=false   # true: stage 9 puts its tables and figures into the folder of the recipe
dry_run=false   # true: prints the commands and runs none
recipe=lrw      # recipe to run: a folder of egs/

set -eu
RECIPE_DIR=$(dirname -- "$(readlink -f -- "${BASH_SOURCE[0]}")")
# shellcheck source=utils/parse_options.sh
. "$RECIPE_DIR/../../utils/parse_options.sh"
# shellcheck source=utils/stage.sh
. "$RECIPE_DIR/../../utils/stage.sh"

# tables: which word is said in which file, in three splits
if [ "$stage" = 1 ] && [ -z "$corpus_dir" ]; then _usage_error "stage 1 needs --corpus-dir, the folder of LRW"; fi
stage 1 prepare --corpus lrw --protocol "$protocol" --out "$work_dir/data" --corpus-dir "$corpus_dir"

# mouth crops
stage 2 crop --data "$work_dir"/data/{train,valid,test} --out "$work_dir/dump/video"

no_stage 3 extract "which hears nothing"
no_stage 4 mix "which hears nothing"

# the word classifiers
stage 5 pretrain --work-dir "$work_dir" ${systems:+--systems "$systems"}

no_stage 6 enhance "which hears nothing"
no_stage 7 recognise "which reads single words"
no_stage 8 joint "which reads single words"

# every system on the test words: tables, figures, RESULTS.md
if [ "$publish" = true ]; then publish_to=$RECIPE_DIR; else publish_to=; fi
stage 9 score --work-dir "$work_dir" ${systems:+--systems "$systems"} ${checkpoint:+--checkpoint "$checkpoint"} \
  ${publish_to:+--publish true --recipe-dir "$publish_to"}
