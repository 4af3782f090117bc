"""Hydra-style entry points."""
