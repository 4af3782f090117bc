#!/bin/bash
# Trains an encoder-processor-decoder, then evaluates it, in one job:
#
#     sbatch train-eval.sh [MORE OVERRIDES OF THE TRAINING]
#
# Edit the two blocks below. Submit it from the directory that holds datasets/ and outputs/, in a shell that finds
# train_encoder_processor_decoder: the job inherits its environment. A run that its time limit has cut short goes on
# with `autocast resume DIRECTORY`. (`autocast train-eval --mode slurm` makes two jobs of it, each with resources of its
# own, and checks, resumes and reports by itself.)

# What the job asks for; two # leave a line out.
#SBATCH --job-name=train-eval
#SBATCH --time=04:00:00
#SBATCH --nodes=1
#SBATCH --ntasks=1
#SBATCH --no-requeue
#SBATCH --output=train-eval_%j.log
##SBATCH --partition=gpu
##SBATCH --account=my-account
##SBATCH --gpus-per-node=1
##SBATCH --cpus-per-task=8
##SBATCH --mem=64G

set -eo pipefail # what is only half trained is not evaluated
# module load python
# source .venv/bin/activate

# What is trained, and how it is evaluated.
training=(
    datamodule=reaction_diffusion
    trainer.max_epochs=50
)
evaluation=(
    "eval.batch_indices=[0]"
)
run=outputs/train-eval_$SLURM_JOB_ID

train_encoder_processor_decoder "${training[@]}" hydra.run.dir="$run" "$@"
evaluate_encoder_processor_decoder "${evaluation[@]}" hydra.run.dir="$run" \
    eval.checkpoint="$run/encoder_processor_decoder.ckpt"
