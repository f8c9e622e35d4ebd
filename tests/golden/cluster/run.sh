#!/bin/sh
# Runs the job on this machine. `./run.sh --resume` goes on from its last save.
set -e
CDPATH="" cd -- "$(dirname -- "$0")"
exec torchrun --standalone --nproc_per_node=4 -m ml_core.jobs.worker job.json "$@"
