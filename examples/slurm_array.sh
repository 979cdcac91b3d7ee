#!/bin/bash
# Extract AMI with eight jobs that share one store. This script was not run on a cluster: try it with --array=1-2 first.
#
# Make the manifest once, on one node, before the jobs start:
#
#     mmpipe manifest ami --root /data/amicorpus --out ami.parquet
#     mmpipe extract --dataset ami --root /data/amicorpus --manifest ami.parquet --out /scratch/features/ami --dry-run
#     sbatch examples/slurm_array.sh
#
# The plan (which utterance is in which shard) follows from the manifest alone, so each job plans the same shards, and
# they need not wait for one another. The dry run estimates time and disk and writes nothing to the store; it loads the
# text model once, so that the model is in the shared cache when the jobs start.
#
# A job that is requeued resumes where it stopped. Do not submit a part of the array by itself (--array=3): Slurm then
# counts one task. Submit the whole array again; jobs without work end at once.
#
#SBATCH --job-name=mmpipe-ami
#SBATCH --array=1-8
#SBATCH --cpus-per-task=4
#SBATCH --mem=8G
#SBATCH --time=04:00:00
#SBATCH --requeue

set -euo pipefail

root=${MMPIPE_AMI_ROOT:-/data/amicorpus}
manifest=${MANIFEST:-ami.parquet}
out=${OUT:-/scratch/features/ami}

mmpipe extract --dataset ami --root "$root" --manifest "$manifest" --out "$out" \
    --slice "$SLURM_ARRAY_TASK_ID/$SLURM_ARRAY_TASK_COUNT" --workers "$SLURM_CPUS_PER_TASK"
