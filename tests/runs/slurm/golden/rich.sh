#!/bin/bash

# Parameters
#SBATCH --account=turbulence
#SBATCH --chdir=/home/me/work
#SBATCH --comment=autocast:0badcafe:train:12ab
#SBATCH --constraint=nvlink
#SBATCH --cpus-per-task=8
#SBATCH --dependency=afterok:184213:184214
#SBATCH --error=/data/rd/00/epd/logs/%j_0_log.err
#SBATCH --exclusive
#SBATCH --gpus-per-node=a100:4
#SBATCH --job-name=rd.00.epd.train
#SBATCH --kill-on-invalid-dep=yes
#SBATCH --mail-type=END,FAIL
#SBATCH --mem=64G
#SBATCH --no-requeue
#SBATCH --nodes=2
#SBATCH --ntasks-per-node=4
#SBATCH --open-mode=append
#SBATCH --output=/data/rd/00/epd/logs/%j_0_log.out
#SBATCH --partition=gpu
#SBATCH --qos=long
#SBATCH --reservation=school
#SBATCH --signal=USR2@300
#SBATCH --time=1-12:00:00
#SBATCH --wckey=w1

# setup
set -eo pipefail
module load python
source .venv/bin/activate

# command
export SUBMITIT_EXECUTOR=slurm
srun --unbuffered --output /data/rd/00/epd/logs/%j_%t_log.out --error /data/rd/00/epd/logs/%j_%t_log.err --open-mode=append --kill-on-bad-exit=1 --wait=0 --cpus-per-task=8 PYTHON -u -m submitit.core._submit /data/rd/00/epd/logs
