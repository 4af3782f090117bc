#!/bin/bash
# Trains an encoder-processor-decoder for every combination of some settings, each as a task of one job array:
#
#     sbatch encoder-processor-decoder-parameter_sweep.sh [MORE OVERRIDES]
#
# Edit the two blocks below. Submit it from the directory that holds datasets/ and outputs/, in a shell that finds
# train_encoder_processor_decoder: the job inherits its environment. A run that its time limit has cut short goes on
# with `autocast resume DIRECTORY`. (`autocast epd --mode slurm` checks, resumes and reports by itself.)

# What each task asks for; two # leave a line out.
#SBATCH --job-name=epd-sweep
#SBATCH --array=0-3
#SBATCH --time=04:00:00
#SBATCH --nodes=1
#SBATCH --ntasks=1
#SBATCH --no-requeue
#SBATCH --output=epd-sweep_%A_%a.log
##SBATCH --partition=gpu
##SBATCH --account=my-account
##SBATCH --gpus-per-node=1
##SBATCH --cpus-per-task=8
##SBATCH --mem=64G

set -eo pipefail
# module load python
# source .venv/bin/activate

# What is varied, and what is the same for all. --array counts the combinations from 0: 2 x 2 are 0-3.
learning_rates=(1e-3 3e-4)
batch_sizes=(16 32)
common=(
    datamodule=reaction_diffusion
    trainer.max_epochs=50
)
runs=outputs/epd-sweep_$SLURM_ARRAY_JOB_ID

task=${SLURM_ARRAY_TASK_ID:?submit this with sbatch: it is a job array}
n_combinations=$((${#learning_rates[@]} * ${#batch_sizes[@]}))
if ((task >= n_combinations)); then
    echo "There are $n_combinations combinations: give --array=0-$((n_combinations - 1))" >&2
    exit 2
fi
learning_rate=${learning_rates[task / ${#batch_sizes[@]}]}
batch_size=${batch_sizes[task % ${#batch_sizes[@]}]}

train_encoder_processor_decoder \
    "${common[@]}" \
    optimizer.learning_rate="$learning_rate" \
    datamodule.batch_size="$batch_size" \
    hydra.run.dir="$runs/lr${learning_rate}_batch${batch_size}" \
    "$@"
