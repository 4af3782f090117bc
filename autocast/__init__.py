"""Emulators of spatio-temporal fields: simulate, train, roll out, score."""

from typing import Any

from autocast.version import __version__

__all__ = ["__version__", "load"]


def load(run: str) -> Any:
    """The trained model of a run directory, a `<date>/<run-name>` or a checkpoint file, ready to forecast.

    Returns:
        An `autocast.emulators.EncoderProcessorDecoder` with averaged weights, in evaluation mode.
    """
    from autocast.workflows import load_model

    return load_model(run)
