#!/usr/bin/env bash
# The GRID recipe: real recordings (Zenodo 3625687), from the video files to a scored table.
# usage: ./run.sh --recipe grid --protocol s1 --corpus-dir GRID --noise-dir NOISE [--name value ...]
# all speakers: --protocol G --preset small --device cuda in the place of --protocol s1

stage=1         # first stage to run, 1 to 9
stop_stage=9    # last stage to run
corpus_dir=     # the GRID corpus: its videos, and its alignments where they are there
tcd_timit_dir=  # the TCD-TIMIT corpus, for protocol GT
noise_dir=      # recordings of noise, one folder a type
speech_dir=     # recordings of more talkers, as interference
work_dir=       # data/, dump/, exp/, RESULTS.md go here; not given: the recipe's folder, and RESULTS.md into its exp/
nj=$(env -u OMP_NUM_THREADS nproc) # processes side by side
seed=0          # of every random choice
device=cpu      # cpu or cuda
preset=quick    # conf/<preset>.yaml; what each is for: README.md of the recipe
protocol=s1     # how the corpus is split: s1 (or any sN: one speaker), G (all speakers), GT (and TCD-TIMIT's), mini
systems=        # only these systems, as "ae_tcn eg_av"; all of the preset where not given
frontend=       # lip reading front-end of another recipe, taken instead of stage 5's training
storage=hdf5    # of crops, waveforms, mels, video features: hdf5 or ark
checkpoint=     # stage 9: scores this checkpoint in a row of its own, on the same lists
publish=false   # true: stage 9 puts its tables and figures into the folder of the recipe
dry_run=false   # true: prints the commands and runs none
recipe=grid     # recipe to run: a folder of egs/

set -eu
RECIPE_DIR=$(dirname -- "$(readlink -f -- "${BASH_SOURCE[0]}")")
# shellcheck source=utils/parse_options.sh
. "$RECIPE_DIR/../../utils/parse_options.sh"
# shellcheck source=utils/stage.sh
. "$RECIPE_DIR/../../utils/stage.sh"

# tables: who says what in which file, in three splits
if [ "$stage" = 1 ] && [ -z "$corpus_dir" ]; then _usage_error "stage 1 needs --corpus-dir, the folder of GRID"; fi
stage 1 prepare --corpus grid --protocol "$protocol" --out "$work_dir/data" --corpus-dir "$corpus_dir" \
  ${tcd_timit_dir:+--tcd-timit-dir "$tcd_timit_dir"}

# mouth crops and landmarks
stage 2 crop --data "$work_dir"/data/{train,valid,test} --out "$work_dir/dump/video"

# waveforms and mel magnitudes
stage 3 extract --data "$work_dir"/data/{train,valid,test} --video "$work_dir/dump/video" --out "$work_dir/dump/audio"

# noise lists: which noise, from where, at which SNR, for every utterance
stage 4 mix --data "$work_dir/data" --audio "$work_dir/dump/audio" --out "$work_dir/dump" \
  ${noise_dir:+--noise-dir "$noise_dir"} ${speech_dir:+--speech-dir "$speech_dir"}

# the word classifier, then its frozen features of every utterance
stage 5 pretrain --work-dir "$work_dir" ${systems:+--systems "$systems"} ${frontend:+--frontend "$frontend"}

# enhancement systems
stage 6 enhance --work-dir "$work_dir" ${systems:+--systems "$systems"}

# recognisers, on clean and then on noisy speech
stage 7 recognise --work-dir "$work_dir" ${systems:+--systems "$systems"}

# a frozen enhancement system in front of a recogniser
stage 8 joint --work-dir "$work_dir" ${systems:+--systems "$systems"}

# every system on every test list: tables, figures, RESULTS.md
if [ "$publish" = true ]; then publish_to=$RECIPE_DIR; else publish_to=; fi
stage 9 score --work-dir "$work_dir" ${systems:+--systems "$systems"} ${checkpoint:+--checkpoint "$checkpoint"} \
  ${publish_to:+--publish true --recipe-dir "$publish_to"}
