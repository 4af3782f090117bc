"""Processors: maps from the past to a distribution of futures."""
