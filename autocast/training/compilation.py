"""How fast a training computes: compiled networks, and TF32 on GPUs."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import lightning as L
import torch
from torch import nn

from autocast.errors import ConfigError
from autocast.nn.compilation import CUDA_GRAPHS, check_compiler, compile_networks


def compile_for(trainer: L.Trainer, model: nn.Module, mode: str, micro_batch: int | None = None) -> None:
    """Compiles the networks of a model that `trainer` is about to train, in pieces of `micro_batch` windows if any.

    Raises:
        ConfigError: There is no compiler, or the mode has CUDA graphs, whose gradients cannot be accumulated.
    """
    device = trainer.strategy.root_device
    check_compiler(device, f"trainer.compile={mode}")
    accumulated = trainer.accumulate_grad_batches
    if mode in CUDA_GRAPHS and (accumulated > 1 or micro_batch):  # https://github.com/pytorch/pytorch/issues/169545
        key = (
            f"trainer.accumulate_grad_batches={accumulated}"
            if accumulated > 1
            else f"trainer.micro_batch={micro_batch}"
        )
        raise ConfigError(
            f"trainer.compile={mode} with {key}: CUDA graphs overwrite the gradients that are to be added up. Set "
            "trainer.compile=default."
        )
    compile_networks(model, mode)


@contextmanager
def tf32(allowed: bool) -> Iterator[None]:
    """Inside, GPUs multiply single-precision numbers in TF32 (10 bits of mantissa) or not, in matrix products and in
    convolutions alike."""
    before = torch.get_float32_matmul_precision(), torch.backends.cudnn.allow_tf32
    _set_tf32("high" if allowed else "highest", allowed)
    try:
        yield
    finally:
        _set_tf32(*before)


def _set_tf32(products: str, convolutions: bool) -> None:
    torch.set_float32_matmul_precision(products)
    torch.backends.cudnn.allow_tf32 = convolutions
