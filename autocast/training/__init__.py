"""Lightning training of autoencoders and processors; `VAETrainer` for loops of one's own."""

from autocast.training.vae import VAETrainer, VAETrainingConfig

__all__ = ["VAETrainer", "VAETrainingConfig"]
