"""Autoencoders: encoder, bottleneck, decoder."""
