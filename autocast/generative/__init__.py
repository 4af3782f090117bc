"""Noise, probability paths and samplers of generative models."""
