"""What to type for a config that is there: overrides by which a new composition comes out like it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from omegaconf import DictConfig, OmegaConf

from autocast.runs.changes import changes
from autocast.runs.compose import EPD, ROOT_OF_COMMAND, compose
from autocast.runs.composer import REFUSALS, Composer
from autocast.runs.identity import differences, is_under
from autocast.runs.overrides import write_override
from autocast.runs.request import SLURM, Request

CHOSEN = (
    *(f"model.{part}" for part in ("encoder", "bottleneck", "decoder", "objective")),
    *("optimizer", "trainer", "callbacks", "logging"),
)
"""Places of options; what another group sets is told by its values."""
NOT_TYPED = ("datamodule.data_path", "eval", "rescue")
"""What `--dataset` says, what a training does not look at, and what has become of the run that was rescued: the config
has its architecture and beta."""
SHARED = ("perceptual", "cluster")
"""What other sections are made from: terms of the objective, and devices and workers."""
HELD = ("model", "optimizer", "callbacks", "logging", "datamodule.augment")
"""Where something may be missing on purpose; elsewhere the config is older than the key."""
Plain = Mapping[str, Any]


def retype(config: Plain, command: str, mode: str) -> list[str]:
    """Overrides of a command with the same `--dataset` and in the same mode: options, then values, then deletions.

    An option is the one that leaves the fewest values of its section to be typed, whether or not it was typed itself; a
    preset is told by what it sets.
    """
    dataset = str(config["datamodule"]["data_path"])
    left_out = NOT_TYPED if mode == SLURM else (*NOT_TYPED, "cluster")
    changed = changes(_composed(command, (), dataset, mode), config).values
    shared = {key: value for key, value in changed.items() if _is_shared(key) and not is_under(key, left_out)}
    words = [*_options(config, command, shared), *(write_override(*item) for item in shared.items())]
    return [*words, *_rest(_composed(command, tuple(words), dataset, mode), config, left_out)]


def _composed(command: str, words: tuple[str, ...], dataset: str, mode: str) -> Plain:
    found: Any = OmegaConf.to_container(compose(Request(command, words, dataset=dataset, mode=mode)).config)
    return found


def _is_shared(key: str) -> bool:
    """Whether other sections follow it: a single value of the top level, or one of some sections."""
    return "." not in key or is_under(key, SHARED)


def _options(config: Plain, command: str, shared: Plain) -> Iterator[str]:
    composer = Composer.of(ROOT_OF_COMMAND.get(command, EPD))
    draft = composer.draft([]).config
    for key, value in shared.items():
        OmegaConf.update(draft, key, value, force_add=True)
    for place in CHOSEN:
        wanted = _at(config, place)
        if isinstance(wanted, Mapping) and (option := _best_option(place, wanted, composer, draft)):
            group = place.rpartition(".")[2]
            yield write_override(group if composer.places.get(group) == place else place, option)


def _best_option(place: str, wanted: Plain, composer: Composer, draft: DictConfig) -> str | None:
    """The one that a section differs least from; None where that is the default.

    Args:
        draft: Its references are those of options; its section at the place is lost.
    """
    best, least = None, _n_differences(draft, place, wanted)
    group = place.rpartition(".")[2]
    for option in composer.tree.shown(group, composer.root) if least else ():
        try:
            OmegaConf.update(draft, place, composer.option(group, option), merge=False, force_add=True)
            n = _n_differences(draft, place, wanted)
        except REFUSALS:  # it refers to what is not there
            continue
        if n < least:
            best, least = option, n
    return best


def _n_differences(draft: DictConfig, place: str, wanted: Plain) -> int:
    section = OmegaConf.select(draft, place)
    plain: Any = OmegaConf.to_container(section, resolve=True) if isinstance(section, DictConfig) else {}
    return len(differences(plain, wanted))


def _rest(fresh: Plain, config: Plain, left_out: tuple[str, ...]) -> Iterator[str]:
    left = changes(fresh, config)
    for key, value in left.values.items():
        if not is_under(key, left_out):
            yield write_override(key if _has(fresh, key) else f"+{key}", value)
    for key in left.removed:
        if is_under(key, HELD) and _is_deleted(fresh, config, key):
            yield f"~{key}"


def _is_deleted(fresh: Plain, config: Plain, key: str) -> bool:
    """Whether it is missing on purpose: what is constructed otherwise as before is older than the keyword."""
    above = key.rpartition(".")[0]
    target = _at(fresh, above).get("_target_")
    return target is None or target != _at(config, above).get("_target_")


def _has(config: Plain, key: str) -> bool:
    above, _, last = key.rpartition(".")
    section = _at(config, above) if above else config
    return isinstance(section, Mapping) and last in section


def _at(config: Plain, key: str) -> Any:
    """None where there is nothing."""
    found: Any = config
    for name in key.split("."):
        found = found.get(name) if isinstance(found, Mapping) else None
    return found
