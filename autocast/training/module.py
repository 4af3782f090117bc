"""What Lightning trains: a model with a loss, its optimiser, and the random streams of every step."""

from __future__ import annotations

import math
from collections.abc import Callable, Collection
from typing import Any, Protocol, runtime_checkable

import lightning as L
import torch
from lightning.pytorch.plugins import MixedPrecision
from lightning.pytorch.strategies import SingleDeviceStrategy
from lightning.pytorch.utilities import GradClipAlgorithmType
from torch import Tensor, nn
from torch.optim import Optimizer
from torch.optim.lr_scheduler import LambdaLR, LRScheduler

from autocast.data.sampler import EpochSampler
from autocast.errors import CheckpointError, ConfigError
from autocast.generative.noise import Noise
from autocast.losses.annealing import Progress
from autocast.nn.memory import is_out_of_memory
from autocast.training.adversaries import KEY as ADVERSARIES
from autocast.training.adversaries import Adversaries, HasAdversaries, check_adversaries
from autocast.training.budget import Budget
from autocast.training.curriculum import Curriculum
from autocast.training.micro_batches import KEY as MICRO_BATCH
from autocast.training.micro_batches import MicroBatches, mean_terms
from autocast.training.optimizers import Length, count_total_steps, parameter_groups, refresh_rates
from autocast.types import Batch

MakeOptimizer = Callable[[list[dict[str, Any]]], Optimizer]
"""From groups of parameters."""
MakeScheduler = Callable[[Optimizer, Length], LRScheduler]
Augmentation = Callable[[Batch, Noise], Batch]
Measure = Callable[[Batch, Noise], dict[str, Tensor]]

# What numbers are drawn for, after the seed in their keys. A rollout's keys, (seed, trajectory, member), have in its
# place a number that never gets so large: nothing is drawn twice, even if both have the same seed.
VALIDATION, SCORES, AUGMENTATION, TRAINING = (2**48 + purpose for purpose in range(4))


class Trainable(Protocol):
    """A model that knows its own loss."""

    def loss(self, batch: Batch, noise: Noise) -> dict[str, Tensor]:
        """Named terms; "loss" is their weighted sum, the objective."""


@runtime_checkable
class ScoresValidation(Protocol):
    """A model with cheap scores of its own, such as the error of one window."""

    def validation_scores(self, batch: Batch, noise: Noise) -> dict[str, Tensor]: ...


@runtime_checkable
class Anneals(Protocol):
    """A model whose objective changes while it is trained."""

    def advance(self, progress: Progress) -> None: ...


class TrainingModule(L.LightningModule):
    """Trains any model that has a `loss`.

    The noise of optimiser step s for sample i of the global batch comes from (seed, s, i), and so does its
    augmentation, each with a purpose in its key: restarts repeat them, and they are the same for any number of ranks,
    of batches in an accumulation and of pieces of a batch. Validation noise comes from (seed, trajectory, start) and is
    the same in every epoch, so that `val/objective` is comparable over epochs.

    The gradients of a batch's pieces add up to those of the batch, as far as its loss is a mean over windows. What a
    model keeps itself of the batches that it sees (averaged codebooks) counts pieces as batches, and sees those twice
    in which memory ran out; so do generators of torch that dropout draws from.

    Args:
        model: A `Trainable`; its weights are `model.*` in checkpoints.
        optimizer: Makes the optimiser from groups of the parameters that require a gradient.
        lr_scheduler: Makes the schedule from the optimiser and the number of steps in all.
        budget: Estimates the number of steps where time bounds the run.
        seed: Of the noise and of the augmentations.
        augment: Changes a training batch, on the device, with a stream of random numbers for each sample.
        curriculum: Training batches are cut to so many windows of the model's `n_steps_output`; None leaves all.
            Validation is always on all, so that `val/objective` is comparable over epochs.
        skip_steps: Optimiser steps whose batches are not trained on.
        micro_batches: How many windows are computed at once; None is all of a batch, or fewer once memory runs out.
        record: Plain values that checkpoints carry under "autocast": kind, config, field specification, versions.
        n_score_batches: Validation batches, evenly spread, on which `validation_scores` are evaluated in an epoch:
            a generative model is sampled for them.
    """

    is_sharded = False

    def __init__(  # noqa: PLR0913
        self,
        model: nn.Module,
        *,
        optimizer: MakeOptimizer,
        lr_scheduler: MakeScheduler | None = None,
        budget: Budget | None = None,
        seed: int = 42,
        augment: Augmentation | None = None,
        curriculum: Curriculum | None = None,
        skip_steps: Collection[int] = (),
        micro_batches: MicroBatches | None = None,
        record: dict[str, Any] | None = None,
        n_score_batches: int = 2,
    ):
        super().__init__()
        self.model = model
        self.make_optimizer = optimizer
        self.make_scheduler = lr_scheduler
        self.budget = budget
        self.seed = seed
        self.augment = augment
        self.curriculum = curriculum
        self.skip_steps = frozenset(skip_steps)
        self.micro_batches = micro_batches or MicroBatches()
        self.record = record or {}
        self.n_score_batches = n_score_batches
        self.max_steps = math.inf
        self.repeats_batches = False
        self.planned_steps = math.inf
        """Optimiser steps of the whole run by the limits of epochs and steps, known once it starts."""
        self._n_rows_before = 0
        self._adversaries = Adversaries([])
        self._adversary_states: list[dict[str, Any]] | None = None
        self._is_alone = False
        """Whether no other process waits for gradients, which Lightning's strategies exchange after `training_step`."""
        self._taken: list[tuple[Batch, range]] = []
        """Batches of the running optimiser step, and the positions of their samples."""

    def setup(self, stage: str) -> None:  # noqa: ARG002
        """Takes over two limits that Lightning (2.6) misapplies.

        Under its `max_steps` a run resumed from an epoch's end repeats that end; its `overfit_batches` replaces our
        sampler of whole batches by one of single windows.
        """
        self.max_steps = math.inf if self.trainer.max_steps == -1 else self.trainer.max_steps
        self.trainer.fit_loop.epoch_loop.max_steps = -1
        self.repeats_batches = self.trainer.overfit_batches > 0  # type: ignore[attr-defined]
        self.trainer.overfit_batches = 0.0  # type: ignore[attr-defined]
        self._is_alone = isinstance(self.trainer.strategy, SingleDeviceStrategy)

    def configure_optimizers(self) -> Any:
        groups = parameter_groups(self.model)
        if not groups:
            raise ConfigError(
                f"model: {type(self.model).__name__} has no trainable parameter, so nothing can be learnt"
            )
        self.planned_steps = min(count_total_steps(self.trainer), self.max_steps)
        optimizer = self.make_optimizer(groups)
        self._check_clipping(optimizer)
        self._set_up_adversaries()
        self._rates = [group["lr"] for group in optimizer.param_groups]
        if self.make_scheduler is None:
            return optimizer
        scheduler = self.make_scheduler(optimizer, self.total_steps)
        return {"optimizer": optimizer, "lr_scheduler": {"scheduler": scheduler, "interval": "step"}}

    def _set_up_adversaries(self) -> None:
        found = self.model.adversaries if isinstance(self.model, HasAdversaries) else []
        check_adversaries(str(self.trainer.precision), found, is_sharded=self.is_sharded)
        self._adversaries = Adversaries(found)
        if self._adversary_states is not None:
            self._adversaries.restore(self._adversary_states)

    def _check_clipping(self, optimizer: Optimizer) -> None:
        """Gradients in half precision are unscaled within a fused step, too late to be clipped."""
        is_fused = any(group.get("fused") for group in optimizer.param_groups)
        if is_fused and self.trainer.gradient_clip_val and str(self.trainer.precision).startswith("16"):
            raise ConfigError(
                f"trainer.precision={self.trainer.precision}: gradients cannot be clipped before a fused step. Set "
                "optimizer.algorithm.fused=false, or trainer.precision=bf16-mixed."
            )

    def configure_gradient_clipping(
        self,
        optimizer: Optimizer,
        gradient_clip_val: float | None = None,
        gradient_clip_algorithm: str | None = None,
    ) -> None:
        """Clips before a fused step too, which Lightning (2.6) refuses in mixed precision, where only scaled gradients
        (see `_check_clipping`) would stand against it.
        """
        plugin = self.trainer.precision_plugin
        if isinstance(plugin, MixedPrecision) and plugin.scaler is None and gradient_clip_val:
            algorithm = GradClipAlgorithmType(gradient_clip_algorithm or "norm")
            super(MixedPrecision, plugin).clip_gradients(optimizer, gradient_clip_val, algorithm)
        else:
            self.clip_gradients(optimizer, gradient_clip_val, gradient_clip_algorithm)

    def total_steps(self, step: int) -> float:
        """Optimiser steps of the whole run, as they look at a step."""
        return self.planned_steps if self.budget is None else min(self.planned_steps, self.budget.total_steps(step))

    def on_train_start(self) -> None:
        """The rates of a run that goes on are those of its recipe, not those of its checkpoint."""
        scheduler = self.lr_schedulers()
        if isinstance(scheduler, LambdaLR):
            scheduler.base_lrs = list(self._rates)
            refresh_rates(scheduler)
        elif scheduler is None:
            for group, rate in zip(self.trainer.optimizers[0].param_groups, self._rates, strict=True):
                group["lr"] = rate
        self._stop_at_limit()

    def on_train_epoch_start(self) -> None:
        if self.repeats_batches:
            self.trainer.train_dataloader.sampler.set_epoch(0)  # type: ignore[union-attr]

    def training_step(self, batch: Batch, batch_idx: int) -> dict[str, Any] | None:
        """Adds the gradients of a batch to those of its optimiser step, but for what Lightning shall do.

        Returns:
            That as "loss", and for those who log the optimiser step and, detached, what the objective is made of;
            nothing for a batch that is skipped, whose step changes no weight.
        """
        step, rows = self.trainer.global_step, self._rows(batch, batch_idx)
        if batch_idx % self.trainer.accumulate_grad_batches == 0:
            self.zero_grad()
        if step in self.skip_steps:
            return None
        batch = self.cut(batch, step)
        if self.augment is not None:
            batch = self.augment(batch, Noise([(self.seed, AUGMENTATION, step, row) for row in rows]))
        if isinstance(self.model, Anneals):
            self.model.advance(self._progress(step))
        self._taken.append((batch, rows))
        loss, terms = self.micro_batches.fit(self._learn, batch.size)
        told = {_logged_name("train", name): value for name, value in terms.items()}
        return {"loss": loss, "step": step, "terms": told}

    def _learn(self, broken_off: bool) -> tuple[Tensor, dict[str, Tensor]]:
        """What is left of the loss of the newest batch, and its terms.

        Args:
            broken_off: A call before was, and left some gradients: all batches of the optimiser step come again.
        """
        if broken_off:
            self.zero_grad()
        *earlier, (batch, rows) = self._taken
        for one, its_rows in earlier if broken_off else []:
            self._learn_pieces(one, its_rows)
        return self._learn_pieces(batch, rows)

    def _learn_pieces(self, batch: Batch, rows: range) -> tuple[Tensor, dict[str, Tensor]]:
        """Where several processes train together the last piece is left, with whose gradients they exchange all."""
        noise = Noise([(self.seed, TRAINING, self.trainer.global_step, row) for row in rows])
        pieces = self.micro_batches.split(batch, noise)
        parts = []
        for i, (piece, streams) in enumerate(pieces, start=1):
            share = piece.size / batch.size
            terms = self._losses(piece, streams, share)
            loss = share * terms["loss"]
            if self._is_alone or i < len(pieces):
                self._add_gradients(loss)
                loss = loss.detach()
            parts.append((share, {name: value.detach() for name, value in terms.items()}))
        return loss, mean_terms(parts)

    def _losses(self, batch: Batch, noise: Noise, share: float) -> dict[str, Tensor]:
        """The model's, and what its adversaries learn from a piece that is such a share of its batch."""
        if not isinstance(self.model, HasAdversaries):
            return self.model.loss(batch, noise)
        terms, coded = self.model.contest(batch, noise)
        return terms | self.model.teach(coded, share / self.trainer.accumulate_grad_batches)

    def _add_gradients(self, loss: Tensor) -> None:
        """As Lightning does it after `training_step`, which is not to be computed in reduced precision throughout.

        Raises:
            ConfigError: The loss does not depend on anything that is trained.
        """
        if not loss.requires_grad:
            raise ConfigError("model: its loss depends on no parameter that is trained, so nothing can be learnt.")
        with torch.autocast(loss.device.type, enabled=False):
            part = loss / self.trainer.accumulate_grad_batches
            self.trainer.strategy.backward(part, self.trainer.optimizers[0])

    def backward(self, loss: Tensor, *args: Any, **options: Any) -> None:
        """Raises MemoryShortageError where it cannot be computed in smaller pieces."""
        if not loss.requires_grad:  # its gradients are there
            return
        try:
            super().backward(loss, *args, **options)
        except (RuntimeError, MemoryError) as error:
            if self._is_alone or not is_out_of_memory(error):
                raise
            raise self.micro_batches.explain(error, self._taken[-1][0].size) from error

    def optimizer_zero_grad(self, epoch: int, batch_idx: int, optimizer: Optimizer) -> None:
        """Nothing: Lightning (2.6) calls it after `training_step`, when there are gradients already."""

    def optimizer_step(self, *args: Any, **options: Any) -> None:
        """Adversaries make theirs after the model's, at a rate with the same schedule."""
        super().optimizer_step(*args, **options)
        rate, highest = self.trainer.optimizers[0].param_groups[0]["lr"], self._rates[0]
        self._adversaries.step(rate / highest if highest else 0.0, self.trainer.gradient_clip_val)

    def _progress(self, step: int) -> Progress:
        n_batches = self.trainer.num_training_batches / self.trainer.accumulate_grad_batches
        return Progress(step, n_batches, self.total_steps(step))

    def cut(self, batch: Batch, step: int) -> Batch:
        """A batch with the windows that are trained on at a step."""
        if self.curriculum is None:
            return batch
        n_steps: Any = self.model.n_steps_output
        return batch.first_outputs(self.curriculum(step) * n_steps)

    def on_train_batch_end(self, outputs: Any, batch: Batch, batch_idx: int) -> None:  # noqa: ARG002
        if (batch_idx + 1) % self.trainer.accumulate_grad_batches == 0 or self.trainer.is_last_batch:
            self._taken.clear()
        self._stop_at_limit()

    def validation_step(self, batch: Batch, batch_idx: int) -> None:
        loss: Any = self.model.loss
        terms = self._mean(loss, batch, self._validation_keys(VALIDATION, batch, batch_idx))
        counted = 0 if self.trainer.world_size > 1 and self._is_stand_in(batch_idx) else batch.size
        self._log_mean({_logged_name("val", name): value for name, value in terms.items()}, counted)
        if isinstance(self.model, ScoresValidation) and self._is_scored(batch_idx):
            keys = self._validation_keys(SCORES, batch, batch_idx)
            scores = self._mean(self.model.validation_scores, batch, keys)
            for name, value in scores.items():  # where one is nan it does not count, but every rank has the name
                known = not bool(value.isnan())
                self._log_mean({f"val/{name}": value if known else value.new_zeros(())}, counted if known else 0)

    def _log_mean(self, means: dict[str, Tensor], n_windows: int) -> None:
        """Of an epoch, in which they count as so many windows."""
        n_ranks = self.trainer.world_size
        # Lightning (2.6) averages the ranks' counts in whole numbers: multiples of the number of ranks survive that.
        options: dict[str, Any] = {"batch_size": n_ranks * n_windows, "sync_dist": n_ranks > 1}
        self.log_dict(means, on_step=False, on_epoch=True, logger=False, **options)

    def _mean(self, measure: Measure, batch: Batch, keys: list[tuple[int, ...]]) -> dict[str, Tensor]:
        """What is measured of a batch, piece by piece; of a sharded model at once, whose ranks need each other in all
        calls and may have unequal numbers of pieces."""

        def compute(broken_off: bool) -> dict[str, Tensor]:  # noqa: ARG001
            noise = Noise(keys)
            pieces = [(batch, noise)] if self.is_sharded else self.micro_batches.split(batch, noise)
            return mean_terms([(piece.size / batch.size, measure(piece, noise)) for piece, noise in pieces])

        return self.micro_batches.fit(compute, batch.size)

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        checkpoint["autocast"] = {**self.record, "total_steps": self.planned_steps}
        if states := self._adversaries.state():
            checkpoint[ADVERSARIES] = states
        if state := self.micro_batches.state():
            checkpoint[MICRO_BATCH] = state

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Raises CheckpointError where the optimiser had other groups of parameters."""
        self._adversary_states = checkpoint.get(ADVERSARIES, [])
        self.micro_batches.restore(checkpoint.get(MICRO_BATCH))
        ours = len(parameter_groups(self.model))
        theirs = {len(state["param_groups"]) for state in checkpoint.get("optimizer_states", [])}
        if theirs - {ours}:
            raise CheckpointError(
                f"the optimiser of an earlier version of autocast ({checkpoint['autocast']['versions']['autocast']}) "
                "cannot be continued. Start a new run from the weights: --init-from RUN."
            )

    def _stop_at_limit(self) -> None:
        """Lightning then validates and ends the epoch."""
        if self.trainer.global_step >= self.max_steps:
            self.trainer.should_stop = True

    def _rows(self, batch: Batch, batch_idx: int) -> range:
        """Positions of the batch's samples in the global batch, which an accumulation and the ranks share."""
        n_ranks, rank = self.trainer.world_size, self.trainer.global_rank
        if batch_idx % self.trainer.accumulate_grad_batches == 0:
            self._n_rows_before = 0
        first = self._n_rows_before
        self._n_rows_before += batch.size * n_ranks
        return range(first + rank, self._n_rows_before, n_ranks)

    def _validation_keys(self, purpose: int, batch: Batch, batch_idx: int) -> list[tuple[int, ...]]:
        if batch.trajectory is None or batch.start is None:
            return [(self.seed, purpose, batch_idx, row) for row in range(batch.size)]
        windows = zip(batch.trajectory.tolist(), batch.start.tolist(), strict=True)
        return [(self.seed, purpose, trajectory, start) for trajectory, start in windows]

    def _is_stand_in(self, batch_idx: int) -> bool:
        """Whether another rank validates this batch as well."""
        sampler = self.trainer.val_dataloaders.sampler  # type: ignore[union-attr]
        return isinstance(sampler, EpochSampler) and sampler.is_stand_in(batch_idx)

    def _is_scored(self, batch_idx: int) -> bool:
        n_batches = int(self.trainer.num_val_batches[0])
        n_scored = min(self.n_score_batches, n_batches)
        return batch_idx in {(2 * i + 1) * n_batches // (2 * n_scored) for i in range(n_scored)}


def _logged_name(split: str, term: str) -> str:
    if term == "loss":
        return "train/loss" if split == "train" else "val/objective"
    return f"{split}/{term}" if "/" in term else f"{split}/loss/{term}"
