"""Scores of forecasts, streamed, in physical units."""
