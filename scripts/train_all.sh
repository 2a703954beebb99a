#!/usr/bin/env bash
# Trains everything within a given time: text, stage 1, stage 2, then packs a checkpoint and draws twenty unseen names.
# Started again with the same OUT it goes on where it stopped, so that any slot on a GPU is of use.
set -euo pipefail

usage() {
    cat <<'END'
usage: scripts/train_all.sh DATA OUT MINUTES

  DATA     photographs: Parquet shards, a folder of photos, or Food-101 (docs/training.md)
  OUT      OUT/text, OUT/stage1 and OUT/stage2 are the runs; OUT/checkpoint and OUT/pictures are what comes of them
  MINUTES  of this call, everything included

From the environment:
  TEACHER       folder of the teacher's vectors      DATA/teacher where there is one, otherwise OUT/text/teacher
  PRESET        of model.train                       gpu where PyTorch finds a CUDA GPU, otherwise cpu
  TEXT_MINUTES  of the text encoder's training       a fifth of the first call, at most 30
  STAGE1_KIMG   at which stage 1 is finished         800 (preset cpu) or 5000
  STAGE2_KIMG   at which stage 2 is finished         150 (preset cpu) or 1000
  PYTHON        the interpreter                      .venv/bin/python
END
    exit "$1"
}

[[ ${1:-} != -h && ${1:-} != --help ]] || usage 0
[[ $# == 3 && $3 =~ ^[0-9]+(\.[0-9]+)?$ ]] || usage 2 >&2
[[ -e $1 ]] || { echo "train_all.sh: $1 does not exist" >&2; exit 2; }
data=$(realpath "$1")
mkdir -p "$2"
out=$(realpath "$2")
minutes=$3
cd "$(dirname "$0")/.."
python=${PYTHON:-.venv/bin/python}
command -v "$python" >/dev/null || { echo "train_all.sh: there is no $python: run make setup first" >&2; exit 2; }

seconds() { awk -v minutes="$1" 'BEGIN { printf "%d", minutes * 60 }'; }
total=$(seconds "$minutes")
left() { echo $((total - SECONDS)); }
say() { printf '\n== %s (%d of %d s left)\n' "$*" "$(left)" "$total"; }

# Runs a command for at most so many seconds. SIGTERM is what model.train saves on; a run that has not begun by then
# dies of it (143), which is no failure either: there will be another slot.
within() {
    local limit=$1 status=0
    shift
    ((limit > 0)) || return 0
    timeout --foreground --preserve-status --signal=TERM --kill-after=120 "$limit" "$@" || status=$?
    ((status == 143)) || return "$status"
}

if [[ -z ${PRESET:-} ]]; then
    PRESET=cpu
    [[ $("$python" -c 'import torch; print(torch.cuda.is_available())') != True ]] || PRESET=gpu
fi
case $PRESET in cpu) goals=(800 150) ;; *) goals=(5000 1000) ;; esac
goals=("${STAGE1_KIMG:-${goals[0]}}" "${STAGE2_KIMG:-${goals[1]}}")
failed=0

# ---- text: its learning rate falls over its minutes, so that these stay what they were when it began ---------------

text=$out/text
if [[ ! -f $out/text-minutes ]]; then
    fifth=$(awk -v minutes="$minutes" 'BEGIN { m = minutes / 5; print (m < 30 ? m : 30) }')
    echo "${TEXT_MINUTES:-$fifth}" >"$out/text-minutes"
fi
teacher=${TEACHER:-}
[[ -n $teacher || ! -d $data/teacher ]] || teacher=$data/teacher
text_done() { compgen -G "$text/matching-[0-9]*.safetensors" >/dev/null; } # the last thing that it writes
if text_done; then
    say "text: finished"
else
    say "text"
    arguments=(--stage text --data "$data" --out "$text" --minutes "$(<"$out/text-minutes")" --teacher "${teacher:-$text/teacher}")
    [[ ! -f $text/text-state.pt ]] || arguments+=(--resume)
    within "$(left)" "$python" -m model.train "${arguments[@]}"
    text_done || { say "out of time within the text stage: start again to go on"; exit 0; }
fi

# ---- the stages: three fifths of the time for the first, unless the other needs none -------------------------------

kimg() { [[ ! -f $out/stage$1/state.pt ]] || tail -n 1 "$out/stage$1/log.csv" | cut -d, -f1; }
finished() { awk -v kimg="$(kimg "$1")" -v goal="${goals[$1 - 1]}" 'BEGIN { exit !(kimg >= goal) }'; }

train() {
    local stage=$1 limit=$2 source=$3 run=$out/stage$1
    if finished "$stage"; then
        say "stage $stage: finished, $(kimg "$stage") kimg"
        return
    fi
    say "stage $stage, for $limit s"
    local arguments=(--stage "$stage" --data "$data" --out "$run" --preset "$PRESET" --every 2 --kimg "${goals[$1 - 1]}")
    if [[ -f $run/state.pt ]]; then arguments+=(--resume); else arguments+=(--from "$source"); fi
    if ! within "$limit" "$python" -m model.train "${arguments[@]}"; then
        echo "stage $stage stopped; what it kept is used" >&2
        failed=1
    fi
}

reserve=$((total / 10 < 180 ? total / 10 : 180)) # for the last saves, packing and pictures
time=$(($(left) - reserve))
finished 2 || time=$((time * 3 / 5))
train 1 "$time" "$text"
[[ -f $out/stage1/state.pt ]] || { say "stage 1 has saved nothing yet: start again to go on"; exit "$failed"; }
if [[ -f $out/stage2/state.pt ]]; then # stage 2 goes on over the sketches as they are now
    cp "$out/stage1/checkpoint/stage1.safetensors" "$out/stage2/checkpoint/.newer"
    mv "$out/stage2/checkpoint/.newer" "$out/stage2/checkpoint/stage1.safetensors"
fi
train 2 "$(($(left) - reserve))" "$out/stage1/checkpoint"
[[ -f $out/stage2/state.pt ]] || { say "stage 2 has saved nothing yet: start again to go on"; exit "$failed"; }

# ---- what comes of it ----------------------------------------------------------------------------------------------

say "packing"
"$python" -m model.pack --part "$out/stage1/checkpoint" --part "$out/stage2/checkpoint" --data "$data" --out "$out/checkpoint"
say "pictures"
"$python" -m model.generate --names docs/pictures/names.txt --checkpoint "$out/checkpoint" --out "$out/pictures"
say "$(kimg 1) kimg of stage 1, $(kimg 2) kimg of stage 2: $out/checkpoint, $out/pictures/sheet.png"
exit "$failed"
