"""Emulators of spatio-temporal fields: simulate, train, roll out, score."""

from typing import Any

__version__ = "0.1.0"


def load(run: str) -> Any:
    """The trained model of a run directory, a `<date>/<run-name>` or a checkpoint file, ready to forecast.

    Returns:
        An `autocast.emulators.EncoderProcessorDecoder` with averaged weights, in evaluation mode.
    """
    from autocast.workflows import load_model

    return load_model(run)
