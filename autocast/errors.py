"""Errors that a user can act on; everything else is a bug and keeps its traceback."""


class AutocastError(Exception):
    """Something a user can change. The message names it, what was found, what is accepted, and the remedy."""


class ConfigError(AutocastError):
    """A key, option, override or flag that cannot be used."""


class DataError(AutocastError):
    """A data set, file or array that cannot be used."""


class CheckpointError(AutocastError):
    """A checkpoint that is missing, damaged or does not fit the model."""


class LaunchError(AutocastError):
    """A run that cannot be started, found or continued."""
