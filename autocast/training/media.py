"""How trackers are spoken to: a quiet start, records, pictures and videos, an end; none of it may fail a training."""

from __future__ import annotations

import functools
import logging
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
from lightning.fabric.utilities.logger import _add_prefix
from lightning.pytorch.loggers import Logger, TensorBoardLogger, WandbLogger
from lightning.pytorch.utilities.rank_zero import rank_zero_only
from PIL import Image

from autocast.signals import children_shielded

VIDEOS = (".mp4", ".gif", ".webm")


@rank_zero_only
def start_trackers(loggers: Sequence[Logger], config: dict[str, Any]) -> None:
    """Opens the trackers' runs and records the config. Only the first rank has any.

    A tracker's service outlives the signal before a time limit, or the last records would be lost.
    """
    with children_shielded():
        _open(loggers, config)


def _open(loggers: Sequence[Logger], config: dict[str, Any]) -> None:
    for logger in loggers:
        if isinstance(logger, WandbLogger):
            import wandb

            wandb.setup()  # reads WANDB_SILENT before Lightning hands over a setting that wandb warns about (0.31)
        logger.log_hyperparams(config)


@rank_zero_only
def finish_trackers(loggers: Sequence[Logger], *, failed: bool) -> None:
    """Closes the trackers' runs, so that a later stage of this process opens its own."""
    for logger in loggers:
        if isinstance(logger, WandbLogger):
            try:
                logger.experiment.finish(exit_code=int(failed))
            except Exception as error:  # wandb has a dozen; how the work ended is the news, not how its tracker did
                _say_once(logger.name, str(error) or type(error).__name__)


def log_record(loggers: Sequence[Logger], record: dict[str, float], step: int) -> None:
    """Sends numbers by name."""
    for logger in loggers:
        with _perhaps_gone(logger):
            if isinstance(logger, WandbLogger) and step:
                # with its own count of steps it leaves out what it has had before a run was killed
                named = _add_prefix(record, logger._prefix, logger.LOGGER_JOIN_CHAR)
                logger.experiment.log({**named, "trainer/global_step": step}, step=step)
            else:
                logger.log_metrics(record, step=step)


@rank_zero_only
def forget_after(loggers: Sequence[Logger], step: int) -> None:
    """Takes back what a run that was killed sent after the step from which it now goes on; it comes again."""
    for logger in loggers:
        if isinstance(logger, TensorBoardLogger):
            from tensorboard.compat.proto.event_pb2 import Event, SessionLog

            writer = logger.experiment._get_file_writer()
            writer.add_event(Event(step=step + 1, session_log=SessionLog(status=SessionLog.START)))


@rank_zero_only
def flush(loggers: Sequence[Logger]) -> None:
    """Writes down what was sent: a run that goes on from a checkpoint does not send it again."""
    for logger in loggers:
        if isinstance(logger, TensorBoardLogger):
            logger.experiment.flush()


def log_media(loggers: Sequence[Logger], name: str, files: Sequence[Path], step: int) -> None:
    """Shows files under a name; a tracker that cannot show a kind of file is passed over.

    Args:
        loggers: Weights & Biases gets pictures and videos, TensorBoard pictures.
        name: As `split/name`.
        files: Pictures (png, jpg) and videos (mp4, gif, webm).
        step: The optimiser step that they belong to.
    """
    for logger in loggers:
        with _perhaps_gone(logger):
            _show(logger, name, files, step)


@contextmanager
def _perhaps_gone(logger: Logger) -> Iterator[None]:
    """A SIGTERM to all processes of a job ends the service of wandb (0.31) too, which unblocks that signal itself."""
    try:
        yield
    except ConnectionError as error:
        _say_once(logger.name, str(error))


@functools.cache
def _say_once(name: str | None, reason: str) -> None:
    logging.getLogger(__name__).warning("tracker %s no longer listens: %s", name, reason)


def _show(logger: Logger, name: str, files: Sequence[Path], step: int) -> None:
    if isinstance(logger, WandbLogger):
        _to_wandb(logger.experiment, name, files, step)
    elif isinstance(logger, TensorBoardLogger):
        for i, file in enumerate(_pictures(files)):
            pixels = np.asarray(Image.open(file).convert("RGB"))
            logger.experiment.add_image(f"{name}/{i}", pixels, step, dataformats="HWC")


def _to_wandb(run: Any, name: str, files: Sequence[Path], step: int) -> None:
    """Joins the next record of metrics, so that a step stays one record."""
    import wandb

    pictures = [wandb.Image(str(file)) for file in _pictures(files)]
    videos = [wandb.Video(str(file)) for file in files if file.suffix in VIDEOS]
    media: dict[str, Any] = {f"{name}_{i}": video for i, video in enumerate(videos)}
    run.log(media | ({name: pictures} if pictures else {}), step=step or None, commit=False)


def _pictures(files: Sequence[Path]) -> list[Path]:
    return [file for file in files if file.suffix not in VIDEOS]
