"""Batched torch solvers of partial differential equations: arrays out, no files."""
