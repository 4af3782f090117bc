"""Layers and networks in pure torch: channels-first tensors in, channels-first tensors out."""
