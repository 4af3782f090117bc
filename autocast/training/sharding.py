"""Sharded training: each process holds a part of every weight, its gradient and its optimiser state."""

from __future__ import annotations

import itertools
from collections.abc import Mapping
from datetime import timedelta
from pathlib import Path
from typing import Any

import lightning as L
import torch
import torch.distributed as dist
from lightning.fabric.plugins.collectives.torch_collective import default_pg_timeout
from lightning.pytorch.callbacks import WeightAveraging
from lightning.pytorch.core.optimizer import LightningOptimizer
from lightning.pytorch.strategies import FSDPStrategy, ModelParallelStrategy
from torch import nn
from torch.distributed.checkpoint.state_dict import (
    StateDictOptions,
    get_optimizer_state_dict,
    set_model_state_dict,
    set_optimizer_state_dict,
)
from torch.distributed.fsdp import FSDPModule, fully_shard, register_fsdp_forward_method
from torch.optim import Optimizer

from autocast.errors import ConfigError
from autocast.training.module import TrainingModule
from autocast.training.sharded_checkpoints import by_name, by_number, remove, rename

ENTRIES = ("loss", "contest", "validation_scores", "forecast", "reconstruct", "to_latents", "from_latents")
"""Methods through which a training enters a model; for what else is called its own weights would not be there."""
LEAST_PART = 64
"""A block is sent by itself if it holds at least this part (1 / 64) of the model's weights."""
OF_WHOLE_WEIGHTS = ("SOAP",)
"""Optimisers that look at whole matrices; with parts of them this one (pytorch_optimizer 4.1) breaks off."""
NO_AVERAGES = (
    "a sharded training has no averaged weights (callbacks.{names}): validation, checkpoints and what is evaluated "
    "have the weights of the step itself"
)


class ShardedStrategy(ModelParallelStrategy):
    """Lightning's strategy with all processes along the data.

    A checkpoint continues on any number of processes, sharded or not, and so do those of other strategies: Lightning's
    own (2.6) mixes up the optimiser states of a model whose weights are in several groups.

    Args:
        save_distributed_checkpoint: Each process writes its part, and a checkpoint is a directory; else all parts are
            collected in the first process, which writes a file.
        process_group_backend: By default "nccl" on GPUs and "gloo" on CPUs.
        timeout: After which a process that waits for the others gives up.
    """

    def __init__(
        self,
        save_distributed_checkpoint: bool = False,
        process_group_backend: str | None = None,
        timeout: timedelta | None = default_pg_timeout,
    ):
        super().__init__(
            tensor_parallel_size=1,
            save_distributed_checkpoint=save_distributed_checkpoint,
            process_group_backend=process_group_backend,
            timeout=timeout,
        )

    def setup_environment(self) -> None:
        self._data_parallel_size = self.num_nodes * self.num_processes
        super().setup_environment()

    def setup_optimizers(self, trainer: L.Trainer) -> None:
        """Raises ConfigError for an optimiser that needs whole weights."""
        super().setup_optimizers(trainer)
        for name in (type(optimizer).__name__ for optimizer in self.optimizers):
            if name in OF_WHOLE_WEIGHTS:
                raise ConfigError(
                    f"optimizer.algorithm: {name} looks at whole weights, of which each device has a part here. "
                    "Set optimizer=adamw, or trainer.strategy=auto."
                )

    def optimizer_state(self, optimizer: Optimizer) -> dict[str, Any]:
        if isinstance(optimizer, LightningOptimizer):
            optimizer = optimizer.optimizer
        options = StateDictOptions(full_state_dict=not self._save_distributed_checkpoint, cpu_offload=True)
        state: Any = get_optimizer_state_dict(self._module, optimizer, options=options)
        is_whole = self.is_global_zero and not self._save_distributed_checkpoint
        return by_number(state) if is_whole else state

    def save_checkpoint(self, checkpoint: dict[str, Any], filepath: Any, storage_options: Any = None) -> None:
        """Directories too are written beside the target and renamed: the first process is done after all others."""
        if not self._save_distributed_checkpoint:
            super().save_checkpoint(checkpoint, filepath, storage_options)
            return
        target = Path(filepath)
        partial = target.with_name(f".{target.name}.partial")
        if self.is_global_zero:
            remove(partial)
        super().save_checkpoint(checkpoint, partial, storage_options)
        if self.is_global_zero:
            rename(partial, target)

    def load_checkpoint(self, checkpoint_path: Any, weights_only: bool | None = None) -> dict[str, Any]:  # noqa: ARG002
        """Weights and optimiser states go to their places; what is returned tells the rest."""
        path = Path(self.broadcast(str(checkpoint_path)))
        if not path.is_dir():
            return self._load_whole(path)
        checkpoint = super().load_checkpoint(path, weights_only=True)
        states = [optimizer.state_dict()["param_groups"] for optimizer in self.optimizers]
        return {**checkpoint, "optimizer_states": [{"param_groups": groups} for groups in states]}

    def _load_whole(self, path: Path) -> dict[str, Any]:
        """Of a checkpoint with averages, the weights of the step."""
        checkpoint = torch.load(path, mmap=True, map_location="cpu", weights_only=True)
        weights = checkpoint["current_model_state" if "current_model_state" in checkpoint else "state_dict"]
        options = StateDictOptions(full_state_dict=True, broadcast_from_rank0=True)
        set_model_state_dict(self._module, weights, options=options)
        for optimizer, state in zip(self.optimizers, checkpoint["optimizer_states"], strict=True):
            named = by_name(state, optimizer, self._module)
            set_optimizer_state_dict(self._module, optimizer, named, options=options)
        return checkpoint

    @property
    def _module(self) -> nn.Module:
        assert self.model is not None
        return self.model


class ShardedModule(TrainingModule):
    """Shards its model before it is trained."""

    is_sharded = True

    def configure_model(self) -> None:
        mesh: Any = self.device_mesh
        if not isinstance(self.model, FSDPModule):
            shard(self.model, mesh["data_parallel"])


def shard(model: nn.Module, mesh: Any) -> None:
    """Shards a model in place: its larger blocks each by itself, and the rest together.

    A block is a part of a `ModuleList`, called as a module. All processes start with the weights of the first one.
    """
    _make_alike(model)
    for block in reversed(_blocks(model)):
        fully_shard(block, mesh=mesh)
    fully_shard(model, mesh=mesh)
    for name in ENTRIES:
        if callable(getattr(model, name, None)):
            register_fsdp_forward_method(model, name)


def _blocks(model: nn.Module) -> list[nn.Module]:
    """From the outside in."""
    least = sum(weights.numel() for weights in model.parameters()) / LEAST_PART
    listed = [part for parts in model.modules() if isinstance(parts, nn.ModuleList) for part in parts]
    return [
        block
        for block in dict.fromkeys(listed)
        if not isinstance(block, nn.ModuleList)
        and sum(weights.numel() for weights in block.parameters()) >= max(least, 1)
    ]


def _make_alike(model: nn.Module) -> None:
    """Through main memory, where the model still is."""
    group = dist.new_group(backend="gloo")
    for tensor in itertools.chain(model.parameters(), model.buffers()):
        dist.broadcast(tensor.data, src=0, group=group)
    dist.destroy_process_group(group)


def is_sharded(trainer: L.Trainer) -> bool:
    """Whether each process has only a part of the model's weights.

    Raises:
        ConfigError: If another strategy than ours would shard them.
    """
    strategy = trainer.strategy
    if isinstance(strategy, ModelParallelStrategy | FSDPStrategy) and not isinstance(strategy, ShardedStrategy):
        raise ConfigError(f"trainer.strategy: {type(strategy).__name__} shards in its own way. Set trainer=sharded.")
    return isinstance(strategy, ShardedStrategy)


def leave_out_averages(trainer: L.Trainer, given: Mapping[str, Any]) -> str:
    """Takes averaging from a sharded training: Lightning's (2.6) copies the whole model.

    Args:
        trainer: Loses its averaging callbacks.
        given: The recipe's, by name.

    Returns:
        What is to be said about it; nothing where there were none.
    """
    names = [name for name, callback in given.items() if isinstance(callback, WeightAveraging)]
    trainer.callbacks = [c for c in trainer.callbacks if not isinstance(c, WeightAveraging)]  # type: ignore[attr-defined]
    return NO_AVERAGES.format(names=", callbacks.".join(names)) if names else ""
