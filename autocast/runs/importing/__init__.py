"""Configs of older trainers of variational autoencoders, as configs of this package."""
