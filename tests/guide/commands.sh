# The command lines of the guide that the project's users know, as written there.
# A line `#: folder` opens the folder that the commands below it run in, one after the other.

#: basic-overrides
train_autoencoder \
    optimizer.learning_rate=0.001 \
    trainer.max_epochs=50 \
    datamodule.batch_size=32

#: another-processor
train_encoder_processor_decoder \
    model.processor=vit

#: another-encoder
train_encoder_processor_decoder \
    encoder@model.encoder=permute_concat

#: run-directory
train_autoencoder hydra.run.dir=outputs/my_experiment/version_1

#: latent-space
train_autoencoder \
    hydra.run.dir=outputs/autoencoder_v1 \
    datamodule=reaction_diffusion \
    model.encoder=dc \
    model.decoder=dc

train_encoder_processor_decoder \
    hydra.run.dir=outputs/processor_v1 \
    datamodule=reaction_diffusion \
    autoencoder_checkpoint=outputs/autoencoder_v1/autoencoder.ckpt \
    model.processor=flow_matching

#: one-run-directory
# Train autoencoder locally
autocast ae \
    --dataset reaction_diffusion \
    --date rd \
    --run-name 00

#: one-run-directory slurm
# Train EPD on SLURM
autocast epd \
    --mode slurm \
    --dataset reaction_diffusion \
    --date rd \
    --run-name 00 \
    trainer.max_epochs=10

#: one-run-directory
# Re-run evaluation from an existing workdir
autocast eval \
    --dataset reaction_diffusion \
    --workdir outputs/rd/00

autocast epd \
    --dataset reaction_diffusion \
    --workdir outputs/rd/00 \
    --resume-from outputs/rd/00/encoder_processor_decoder.ckpt

#: train-and-evaluate
autocast train-eval \
    --dataset reaction_diffusion \
    --date rd \
    --run-name 00 \
    trainer.max_epochs=1 \
    ::eval:: eval.batch_indices=[0,1]

#: train-and-evaluate-detached slurm
autocast train-eval \
    --mode slurm \
    --detach \
    --dataset reaction_diffusion \
    --date rd \
    --run-name 00
