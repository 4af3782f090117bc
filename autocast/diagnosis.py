"""What ails an autoencoder: told from the metrics of its epochs, while it is trained and afterwards, without torch."""

from __future__ import annotations

import math
import shlex
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from autocast.objective_config import ADVERSARIAL, KL, final_weight, objective_of, term_of

Record = Mapping[str, Any]
"""The metrics of an epoch, by their logged names."""
Config = Mapping[str, Any]
"""Of a run, resolved."""

N_BEFORE, N_AGREEING = 5, 3
"""Validated epochs before anything is said, and how many of the last ones must agree on it."""
N_BEFORE_BLUR = 10
"""Every autoencoder learns fine structure last."""
STALLED = 1.1
"""Fine structure still comes if there is more of it by this factor than `N_BEFORE` validations before."""
LEAST_ACTIVE = 1.0
"""Active channels of the latents, on average: with fewer there are hardly any."""
BLIND = 0.8
"""VRMSE from which on a reconstruction is hardly better than the mean of the field, which has 1."""
LEAST_NATS = 1.0
"""KL of a whole frame below which latents tell next to nothing."""
FALLEN = 0.05
"""Share of the largest KL that there was, below which it is not that of latents that have not learnt anything yet."""
LEAST_USED = 0.1
"""Share of the codes that a batch could use."""
BLURRED = 0.5
"""`high_frequency_ratio` below which a reconstruction is blurred."""
LOSSY = 0.05
"""VRMSE below which that is of no account."""
BALANCED = {"hinge": 2.0, "lsgan": 0.25, "vanilla": 2 * math.log(2)}
"""Loss of a discriminator that cannot tell real from fake."""
WON = 0.05
"""Share of that loss below which a discriminator has won."""


@dataclass(frozen=True)
class Run:
    """Where the metrics are from, and how such a training is started."""

    config: Config
    quoted: str
    """The run directory, as it is typed."""
    words: Callable[[], Sequence[str] | None]
    """What starts one like it in a directory of its own, looked for only when something is wrong; None where that
    cannot be told."""

    def again(self, *overrides: str, from_weights: bool = False) -> str:
        """A new run with these overrides, from the weights of this one or as this one started."""
        known, new = self.words(), {_key(word) for word in overrides}
        if known is None:
            return f"autocast why {self.quoted}"
        words = list(known)
        if from_weights and "--init-from" in words:
            place = words.index("--init-from")
            del words[place : place + 2]
        kept = [word for word in words if "=" not in word or _key(word) not in new]
        start = ""
        if from_weights:
            kept = [word for word in kept if not _key(word).startswith("init.")]  # about other weights
            start = f" --init-from {self.quoted}"
        return f"{shlex.join(kept)}{start} {shlex.join(overrides)}"

    @property
    def mended(self) -> str:
        """A new run that keeps the weights and mends how they are trained."""
        data = shlex.quote(str(self.config["datamodule"]["data_path"]))
        return f"autocast ae --dataset {data} --preset resume_fix --init-from {self.quoted}"


def _key(override: str) -> str:
    """`model.bottleneck` of `bottleneck@model.bottleneck=vq`, and of `++model.bottleneck=vq`."""
    return override.partition("=")[0].lstrip("+~").rpartition("@")[2]


@dataclass(frozen=True)
class Finding:
    """Something that is wrong, with its figures, and what to type."""

    name: str
    text: str
    commands: tuple[str, ...]


def diagnose(records: Sequence[Record], run: Run) -> list[Finding]:
    """What is wrong at the end of these epochs; nothing where there is too little to go by.

    Args:
        records: One for each epoch, in their order; those that were not validated lack `val/` names.
        run: What they are of.
    """
    found = [look(records, run) for look in (_collapse, _dead_codes, _blur, _discriminator)]
    return [finding for finding in found if finding]


def _collapse(records: Sequence[Record], run: Run) -> Finding | None:
    term = term_of(objective_of(run.config), KL)
    known = _known(records, "val/active_units", "val/vrmse")
    if term is None:
        return None
    tells_nothing = _told_by(known, term, run.config["model"]["objective"]["terms"][term])
    if not _agree(known, lambda r: r["val/active_units"] < LEAST_ACTIVE and tells_nothing(r)):
        return None
    last = known[-1]
    kl = last.get(f"val/loss/{term}")
    told = f"; the KL is {kl:.3g} nats a frame" if kl is not None else ""
    weight = run.config["model"]["objective"]["weights"][term]
    return Finding(
        "posterior collapse",
        f"the posterior has collapsed: {last['val/active_units']:.2g} channels of the latents are active{told}, and "
        f"the VRMSE {last['val/vrmse']:.3g}, where the mean of a field has 1. Less weight of {term} (now "
        f"{final_weight(weight):g}), free bits or a slower warm-up keep latents in use",
        (run.mended, run.again(_tenth(weight, f"model.objective.weights.{term}"))),
    )


def _told_by(records: Sequence[Record], term: str, leaf: Config) -> Callable[[Record], bool]:
    """Whether latents tell nothing in an epoch: by the KL, and by the error where the KL is kept from 0 or has only
    fallen from a large one, as it does in every warm-up."""
    name = f"val/loss/{term}"
    if leaf.get("free_bits") or leaf.get("capacity") is not None or not _known(records, name):
        return lambda record: record["val/vrmse"] > BLIND
    fallen = FALLEN * max(record[name] for record in _known(records, name))

    def tells_nothing(record: Record) -> bool:
        kl = record.get(name)
        return kl is not None and (kl < LEAST_NATS or (kl < fallen and record["val/vrmse"] > BLIND))

    return tells_nothing


def _dead_codes(records: Sequence[Record], run: Run) -> Finding | None:
    known = _known(records, "val/used_share", "val/used_codes", "val/perplexity")
    if not _agree(known, lambda r: r["val/used_share"] < LEAST_USED):
        return None
    last = known[-1]
    return Finding(
        "dead codes",
        f"most codes are dead: a batch uses {last['val/used_codes']:.3g} of them (perplexity "
        f"{last['val/perplexity']:.3g}), {100 * last['val/used_share']:.2g} % of what it could. Codes that are "
        "revived, or fewer of them, help",
        tuple(run.again(override) for override in _other_codes(run.config, last["val/used_codes"])),
    )


def _other_codes(config: Config, n_used: float) -> list[str]:
    """Overrides of the bottleneck."""
    bottleneck = config["model"]["bottleneck"]
    if "levels" in bottleneck:
        *fewer, last = bottleneck["levels"]
        return [f"model.bottleneck.levels=[{','.join(map(str, fewer or [max(2, last // 2)]))}]"]
    n_codes = min(bottleneck["n_codes"] // 2, 2 ** math.ceil(math.log2(4 * max(n_used, 1))))
    fewer_codes = f"model.bottleneck.n_codes={max(2, n_codes)}"
    if "revive_below" in bottleneck:
        return [f"model.bottleneck.revive_below={max(1.0, 10 * bottleneck['revive_below']):g}", fewer_codes]
    return ["bottleneck=vq_ema", fewer_codes]


def _blur(records: Sequence[Record], run: Run) -> Finding | None:
    known = _known(records, "val/high_frequency_ratio", "val/vrmse", "val/objective")
    name = "val/high_frequency_ratio"
    if len(known) < N_BEFORE_BLUR or not _agree(known, lambda r: r[name] < BLURRED and LOSSY < r["val/vrmse"] < BLIND):
        return None
    last = known[-1]
    if last[name] > STALLED * known[-1 - N_BEFORE][name]:
        return None
    return Finding(
        "blur",
        f"reconstructions are blurred: {100 * last[name]:.2g} % of the energy at waves shorter than four points is "
        f"left (VRMSE {last['val/vrmse']:.3g}), and no longer grows. A term that sees fine structure, less weight of "
        "the KL or more latent channels sharpen them",
        (run.mended,) if term_of(objective_of(run.config), KL) else (_with_spectral_term(run, last["val/objective"]),),
    )


def _with_spectral_term(run: Run, objective: float) -> str:
    """With a weight that makes it about a tenth of the objective: of blurred fields it is about 1."""
    target = "+model.objective.terms.spectral._target_=autocast.losses.terms.SpectralError"
    return run.again(target, f"+model.objective.weights.spectral={0.1 * objective:.1g}", from_weights=True)


def _discriminator(records: Sequence[Record], run: Run) -> Finding | None:
    term = term_of(objective_of(run.config), ADVERSARIAL)
    known = _known(records, *(f"train/discriminator/{name}" for name in ("loss", "real", "fake")))
    if term is None:
        return None
    leaf = run.config["model"]["objective"]["terms"][term]
    balanced = BALANCED[leaf["loss"]]
    if not _agree(known, lambda r: r["train/discriminator/loss"] < WON * balanced):
        return None
    last, path = known[-1], f"model.objective.terms.{term}"
    return Finding(
        "discriminator dominance",
        f"the discriminator has won: its loss is {last['train/discriminator/loss']:.2g}, where one that cannot tell "
        f"has {balanced:.2g}; it gives fields {last['train/discriminator/real']:.3g} and reconstructions "
        f"{last['train/discriminator/fake']:.3g} on average. What it teaches the autoencoder is then little: slow it "
        "down, penalise its gradient, or let it begin later",
        (
            run.again(f"{path}.learning_rate={leaf['learning_rate'] / 4:g}", from_weights=True),
            run.again(f"{path}.r1={max(1.0, 10 * leaf['r1']):g}", from_weights=True),
        ),
    )


def _known(records: Sequence[Record], *names: str) -> list[Record]:
    """Those that have all of these, as numbers."""
    return [record for record in records if all(record.get(name) is not None for name in names)]


def _agree(records: Sequence[Record], ails: Callable[[Record], bool]) -> bool:
    return len(records) >= N_BEFORE and all(ails(record) for record in records[-N_AGREEING:])


def _tenth(weight: Any, path: str) -> str:
    """An override that takes a tenth of it."""
    if not isinstance(weight, Mapping):
        return f"{path}={weight / 10:g}"
    if "then" in weight:
        return _tenth(weight["then"], f"{path}.then")
    if "points" in weight:
        points = ",".join(f"[{length},{value / 10:g}]" for length, value in weight["points"])
        return f"{path}.points=[{points}]"
    return f"{path}.weight={weight['weight'] / 10:g}"
