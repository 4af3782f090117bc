"""Data sets on disk, windows over them, normalisation and data modules."""
