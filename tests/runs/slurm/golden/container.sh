#!/bin/bash

# Parameters
#SBATCH --chdir=/home/me/work
#SBATCH --comment=autocast:0badcafe:train:12ab
#SBATCH --error=/data/rd/00/epd/logs/%j_0_log.err
#SBATCH --job-name=rd.00.epd.train
#SBATCH --nodes=1
#SBATCH --ntasks-per-node=1
#SBATCH --open-mode=append
#SBATCH --output=/data/rd/00/epd/logs/%j_0_log.out
#SBATCH --requeue
#SBATCH --signal=USR2@120

# setup
set -eo pipefail

# command
export SUBMITIT_EXECUTOR=slurm
srun --unbuffered --output /data/rd/00/epd/logs/%j_%t_log.out --error /data/rd/00/epd/logs/%j_%t_log.err --open-mode=append --kill-on-bad-exit=1 --wait=0 apptainer exec --nv image.sif PYTHON -u -m submitit.core._submit /data/rd/00/epd/logs
