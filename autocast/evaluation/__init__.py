"""Scores, figures, videos and the report of a trained model."""
