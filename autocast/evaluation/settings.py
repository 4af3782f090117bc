"""What an evaluation does: the `eval` section of a config, checked."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from autocast.errors import ConfigError
from autocast.evaluation.result import BASELINES, KNOWN_BASELINES, SIMULATORS
from autocast.metrics.catalogue import DEFAULT_METRICS, resolve_names
from autocast.rollout import LATENT, ROLLOUTS

ALL_LEADS = "all"
AUTO = "auto"
SPREAD, CONFORMAL = "spread", "conformal"
CALIBRATIONS = (SPREAD, CONFORMAL)
PLACES = ("checkpoint", "video_dir")
"""Keys of the section that say what to load and where to write."""


@dataclass(frozen=True)
class EvaluationSettings:
    """Scores, rollouts and videos of one evaluation. Scores cover every test trajectory."""

    name: str | int | None = None
    """Directory `eval-<name>` in place of `eval`."""
    metrics: tuple[str, ...] = DEFAULT_METRICS
    batch_indices: tuple[int, ...] = (0,)
    """Test batches, of the data module's batch size in file order, whose trajectories get videos."""
    max_videos: int = 16
    """Trajectories that get videos at most: the first ones of `batch_indices`."""
    n_members: int = 8
    n_steps: int | None = None
    """Length of the rollout; None is to the end of each trajectory."""
    rollout: str | None = None
    """One of `autocast.rollout.ROLLOUTS`; None is "encode_once" where the model compresses, else "ambient"."""
    batch_size: int | None = None
    """Trajectories in a model call; None is the data module's batch size. Scores do not depend on it."""
    max_rows: int | None = None
    """Trajectories times members in a model call at most; None is what `memory_limit` allows. Scores do not depend on
    it."""
    memory_limit: float | None = None
    """GB for the tensors of a model call, whose size is measured; None is half of what a GPU has free, 1 on a CPU."""
    devices: int = 1
    """GPUs, or on a CPU processes, that share the trajectories. Scores do not depend on it."""
    compile: bool | str = AUTO
    """Whether forecasts are compiled; "auto" is where that pays. Scores do not depend on it but for rounding."""
    seed: int = 0
    windows: tuple[str, ...] = ("1", "2:8")
    """Windows of lead times, `first:last` from 1, both included; the whole rollout is always there as "all"."""
    baselines: tuple[str, ...] = BASELINES
    """Of `KNOWN_BASELINES`."""
    other_rollout: bool = True
    """Where a model compresses, also roll one member out through the fields instead of its latents, or the other way
    round."""
    stress: int | None = None
    """Steps of rollouts far beyond the data, of one member of at most 16 trajectories; None is not to make any."""
    calibrate: str | None = None
    """One of `CALIBRATIONS`, fitted to the validation split; scores of the model itself do not depend on it."""
    save_rollouts: bool = False
    """Keep the rollouts that were scored, in The Well's layout."""
    video: bool = True
    fps: int = 10

    @classmethod
    def from_config(cls, section: Mapping[str, Any]) -> EvaluationSettings:
        """The settings of a config section, whose empty values are defaults; what to load and where to write is not
        among them."""
        given: dict[str, Any] = {
            key: _frozen(value) for key, value in section.items() if value is not None and key not in PLACES
        }
        if "windows" in given:
            given["windows"] = tuple(map(str, given["windows"]))  # a window of one lead time may be a number
        return cls(**given)

    def __post_init__(self) -> None:
        resolve_names(self.metrics)
        for window in self.windows:
            parse_window(window)
        _check_known_baselines(self.baselines)
        if self.rollout not in (None, *ROLLOUTS):
            raise ConfigError(f"eval.rollout={self.rollout}: no such mode. There are: {', '.join(ROLLOUTS)}.")
        if self.rollout == LATENT and (simulators := [name for name in self.baselines if name in SIMULATORS]):
            raise ConfigError(
                f"eval.baselines={simulators}: a simulator computes fields, and eval.rollout=latent scores latents. "
                "Leave them out, or choose another rollout."
            )
        _check_calibration(self.calibrate, self.n_members)
        for key in ("n_members", "n_steps", "batch_size", "max_rows", "devices", "fps", "stress"):
            _check_positive(key, getattr(self, key))
        if self.memory_limit is not None and self.memory_limit <= 0:
            raise ConfigError(f"eval.memory_limit={self.memory_limit}: GB, more than 0.")
        if not (isinstance(self.compile, bool) or self.compile == AUTO):
            raise ConfigError(f"eval.compile={self.compile}: true, false or auto is wanted.")
        if any(index < 0 for index in self.batch_indices):
            raise ConfigError(f"eval.batch_indices={list(self.batch_indices)}: indices of batches count from 0.")


def parse_window(text: str) -> tuple[int, int]:
    """First and last lead time of `"3"` or `"6:12"`, both included."""
    first, _, last = str(text).partition(":")
    try:
        window = int(first), int(last or first)
    except ValueError:
        window = (0, 0)
    if not 1 <= window[0] <= window[1]:
        raise ConfigError(
            f"eval.windows: {text!r} is no window of lead times. Write '1' or '6:12' (first:last, from 1)."
        )
    return window


def lead_windows(windows: tuple[str, ...], n_steps: int) -> dict[str, tuple[int, int]]:
    """The windows that a rollout of `n_steps` reaches, cut at its end, by label; the whole rollout first."""
    found = {ALL_LEADS: (1, n_steps)}
    for first, last in map(parse_window, windows):
        if first <= n_steps:
            stop = min(last, n_steps)
            found[str(first) if first == stop else f"{first}:{stop}"] = (first, stop)
    return found


def _frozen(value: Any) -> Any:
    return tuple(value) if isinstance(value, list) else value


def _check_known_baselines(names: tuple[str, ...]) -> None:
    unknown = [name for name in names if name not in KNOWN_BASELINES]
    if unknown:
        raise ConfigError(f"eval.baselines: no such baseline {unknown}. There are: {', '.join(KNOWN_BASELINES)}.")


def _check_calibration(method: str | None, n_members: int) -> None:
    if method not in (None, *CALIBRATIONS):
        raise ConfigError(f"eval.calibrate={method}: no such method. There are: {', '.join(CALIBRATIONS)}.")
    if method == SPREAD and n_members == 1:
        raise ConfigError(
            "eval.calibrate=spread, eval.n_members=1: one member has no spread. Set eval.n_members to 2 at least, or "
            "eval.calibrate=conformal."
        )


def _check_positive(key: str, value: int | None) -> None:
    if value is not None and value < 1:
        raise ConfigError(f"eval.{key}={value}: at least 1 is needed.")
