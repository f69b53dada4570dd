#!/usr/bin/env bash
# The LRS3 recipe, and LRS2 with the same stages: recognition of sentences with double visual awareness (AE-MSR Tables 2
# to 5). Its front-end is trained by the LRW recipe.
# usage: ./run.sh --recipe lrs3 --corpus-dir LRS3 --frontend FRONTEND [--name value ...]

stage=1         # first stage to run, 1 to 9
stop_stage=9    # last stage to run
corpus_dir=     # the corpus, which holds pretrain, trainval and test (LRS2: main, pretrain and the lists)
work_dir=       # data/, dump/, exp/, RESULTS.md go here; not given: the recipe's folder, and RESULTS.md into its exp/
nj=$(env -u OMP_NUM_THREADS nproc) # processes side by side
seed=0          # of every random choice
device=cpu      # cpu or cuda
preset=base     # conf/<preset>.yaml: base (the paper, with a GPU), mini (generated sentences, CPU), smoke (for tests)
protocol=lrs3   # layout and splits: lrs3 or lrs2
systems=        # only these systems, as "ae_tcn eg_av"; all of the preset where not given
frontend=       # lip reading front-end of the LRW recipe: its exp/frontend.pt, or a checkpoint of its stage 5
storage=hdf5    # of crops, waveforms, mels, video features: hdf5 or ark
checkpoint=     # stage 9: scores this checkpoint in a row of its own, on the same lists
publish=false   # true: stage 9 puts its tables and figures into the folder of the recipe
dry_run=false   # true: prints the commands and runs none
recipe=lrs3     # recipe to run: a folder of egs/

set -eu
RECIPE_DIR=$(dirname -- "$(readlink -f -- "${BASH_SOURCE[0]}")")
# shellcheck source=utils/parse_options.sh
. "$RECIPE_DIR/../../utils/parse_options.sh"
# shellcheck source=utils/stage.sh
. "$RECIPE_DIR/../../utils/stage.sh"

# tables: who says what in which file, in three splits
if [ "$stage" = 1 ] && [ -z "$corpus_dir" ]; then _usage_error "stage 1 needs --corpus-dir, the folder of the corpus"; fi
stage 1 prepare --corpus lrs --protocol "$protocol" --out "$work_dir/data" --corpus-dir "$corpus_dir"

# windows of held-out videos for energy errors, where stage 1 has found some
heldout=$work_dir/data/heldout
[ -d "$heldout" ] || heldout=

# mouth crops
stage 2 crop --data "$work_dir"/data/{train,valid,test} ${heldout:+"$heldout"} --out "$work_dir/dump/video"

# waveforms and mel magnitudes
stage 3 extract --data "$work_dir"/data/{train,valid,test} ${heldout:+"$heldout"} --video "$work_dir/dump/video" \
  --out "$work_dir/dump/audio"

# babble, and the noise lists: which track, from where, at which SNR, for every utterance
stage 4 mix --data "$work_dir/data" --audio "$work_dir/dump/audio" --out "$work_dir/dump"

# the frozen front-end's features of every utterance
stage 5 pretrain --work-dir "$work_dir" ${frontend:+--frontend "$frontend"}

# 1DRN-AE and TCN-AE
stage 6 enhance --work-dir "$work_dir" ${systems:+--systems "$systems"}

# TM-seq2seq and EG-seq2seq: A, V and AV, a curriculum of growing sentences, then noise
stage 7 recognise --work-dir "$work_dir" ${systems:+--systems "$systems"}

# VA and VAV: a frozen enhancer in front of a recogniser
stage 8 joint --work-dir "$work_dir" ${systems:+--systems "$systems"}

# every system on every test list: tables, figures, RESULTS.md
if [ "$publish" = true ]; then publish_to=$RECIPE_DIR; else publish_to=; fi
stage 9 score --work-dir "$work_dir" ${systems:+--systems "$systems"} ${checkpoint:+--checkpoint "$checkpoint"} \
  ${publish_to:+--publish true --recipe-dir "$publish_to"}
