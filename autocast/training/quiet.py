"""Keeps Lightning's and the trackers' own messages off the screen: what matters is said in one voice."""

from __future__ import annotations

import logging
import os
import warnings
from collections.abc import Iterator
from contextlib import contextmanager

from lightning.fabric.utilities.warnings import PossibleUserWarning

CHATTY = ("lightning.pytorch", "lightning.fabric", "lightning")


@contextmanager
def quiet() -> Iterator[None]:
    """Errors and real warnings still come through."""
    levels = {name: logging.getLogger(name).level for name in CHATTY}
    for name in CHATTY:
        logging.getLogger(name).setLevel(logging.ERROR)
    silent_before = os.environ.get("WANDB_SILENT")
    os.environ.setdefault("WANDB_SILENT", "true")
    try:
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", category=PossibleUserWarning)
            warnings.filterwarnings("ignore", message=".*LeafSpec.*deprecated")
            warnings.filterwarnings("ignore", message=".*lr_scheduler.step.*before.*optimizer.step.*")
            warnings.filterwarnings("ignore", message=".*callbacks used to create the checkpoint.*")
            # what the ConvNeXt U-Net does with them is nothing in place
            warnings.filterwarnings("ignore", message=r"FSDP2-wrapped module \(FSDPDoubling\) returned a view")
            yield
    finally:
        for name, level in levels.items():
            logging.getLogger(name).setLevel(level)
        if silent_before is None:
            os.environ.pop("WANDB_SILENT", None)
