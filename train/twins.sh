#!/usr/bin/env bash
# twins.sh WORK SECONDS ESTIMATOR…: trains one model for each estimator, each on a GPU of its own, all on the same tokens
# from the same seed, for at most so many seconds. Called again it goes on where it stopped.
set -euo pipefail
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd -P)
work=$1 seconds=$2 gpu=0 workers=()
read -ra options <<<"${TRAIN_OPTIONS-}"  # of train.py, for all
shift 2
for estimator in "$@"; do
  CUDA_VISIBLE_DEVICES=$gpu python3 "$here/train.py" "$work" "$estimator" --estimator "$estimator" --seconds "$seconds" \
    "${options[@]}" 2>&1 | tee -a "$work/$estimator.out" &
  workers+=($!)
  gpu=$((gpu + 1))
done
failed=0
for worker in "${workers[@]}"; do wait "$worker" || failed=1; done
exit "$failed"
