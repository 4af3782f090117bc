"""A run's saved config, reopened: it wins over today's defaults, and overrides win over it."""

from __future__ import annotations

from pathlib import Path

import yaml
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from autocast.errors import LaunchError
from autocast.runs.compose import (
    CACHE,
    EPD,
    PROCESSOR,
    Composition,
    Reading,
    fill_cluster,
    finish,
    read_request,
    set_data_path,
)
from autocast.runs.composer import Composer, Draft
from autocast.runs.directory import KINDS, LATENTS, RunDirectory
from autocast.runs.environment import allow_recorded_targets
from autocast.runs.overrides import Typed
from autocast.runs.perceptual import link_perceptual
from autocast.runs.problems import Problem
from autocast.runs.profiles import GENERIC, GROUP, cluster_choices, fill_keys, is_silent
from autocast.runs.request import Request
from autocast.runs.spine import ROOTS, SECTIONS, dataclass_name


def reopen(request: Request, saved: Path) -> Composition:
    """The saved config of a run with the overrides of `request`, checked as a new composition is.

    Keys of `eval` and `cluster` that a later version added get today's defaults; those that it dropped are left out
    with a note. The cluster section of a training stays unless a profile is given; that of an evaluation is new.

    Raises:
        LaunchError: The file is not there or not the config of a run.
    """
    config = _load(saved)
    _allow_own_targets(saved)
    reading = read_request(request, _root(saved, config))
    draft = Draft(config, {}, _preset_problems(request))
    notes = _bring_eval_up_to_date(config, reading.composer) if "eval" in config else []
    notes += _set_cluster(reading, draft, of_training=saved.stem in ROOTS)
    _set_data(reading, draft)
    link_perceptual(config)
    reading.composer.replace(draft, [choice for choice in reading.typed.choices if choice.key != GROUP])
    reading.composer.apply(draft, reading.typed.values)
    return finish(reading, draft, notes)


def _load(saved: Path) -> DictConfig:
    if not saved.is_file():
        raise LaunchError(f"{saved}: no such file. A run is reopened from its saved config.")
    try:
        config = OmegaConf.create(yaml.safe_load(saved.read_text()))
    except (yaml.YAMLError, OmegaConfBaseException) as error:
        raise LaunchError(f"{saved} cannot be read: {error}") from error
    wanted = ({"model", "datamodule", "eval"}, {"dtype", "datamodule"})
    if not isinstance(config, DictConfig) or not any(keys <= set(config) for keys in wanted):
        raise LaunchError(f"{saved} is not the config of a run: one has model, datamodule and eval.")
    OmegaConf.set_struct(config, True)
    return config


def _root(saved: Path, config: DictConfig) -> str:
    """The root config that a saved one was made from; that of an evaluation is told from what it holds."""
    if saved.stem in ROOTS:
        return saved.stem
    if "model" not in config:
        return CACHE
    return PROCESSOR if LATENTS in config else EPD


def _allow_own_targets(saved: Path) -> None:
    """Classes of the user's own that the run was trained with are found again."""
    for kind, name in KINDS.items():
        if name == saved.stem:
            allow_recorded_targets(RunDirectory(saved.parent).recorded_targets(kind))


def _bring_eval_up_to_date(config: DictConfig, composer: Composer) -> list[str]:
    notes = _drop_unknown_keys(config, "eval", composer)
    today = composer.option("eval", "default")
    OmegaConf.update(config, "eval", OmegaConf.merge(today, config["eval"]), merge=False, force_add=True)
    return notes


def _set_cluster(reading: Reading, draft: Draft, *, of_training: bool) -> list[str]:
    """The saved section, or that of a profile where one is given, where nothing was saved, and for the evaluation of a
    training: what an evaluation asked for itself it keeps when it is started again."""
    config, composer = draft.config, reading.composer
    saved = OmegaConf.select(config, GROUP)
    given = reading.request.cluster or cluster_choices(reading.typed)
    keeps = not (reading.evaluates and of_training)
    if not given and keeps and not is_silent(saved):
        notes = _drop_unknown_keys(config, GROUP, composer)
        fill_keys(config)
        return notes
    chosen = [reading.profile] if reading.profile else cluster_choices(reading.typed)
    OmegaConf.update(config, GROUP, {}, merge=False, force_add=True)
    composer.replace(draft, chosen or [Typed("", GROUP, GENERIC, GROUP)])
    fill_cluster(reading, draft)
    return []


def _drop_unknown_keys(config: DictConfig, section: str, composer: Composer) -> list[str]:
    known = composer.signatures.read(dataclass_name(SECTIONS[section])).parameters
    saved = config[section]
    dropped = [str(key) for key in saved if key not in known]
    kept = {key: saved[key] for key in saved if key in known}
    OmegaConf.update(config, section, kept, merge=False, force_add=True)
    return [f"{section}.{key} of the saved config is not known any more and is left out" for key in dropped]


def _set_data(reading: Reading, draft: Draft) -> None:
    """`--dataset` says where the data are; everything else about them stays the run's."""
    if reading.dataset is not None and reading.dataset.path is None:
        path = reading.composer.option("datamodule", reading.dataset.option)["data_path"]
        OmegaConf.update(draft.config, "datamodule.data_path", path, force_add=True)
    else:
        set_data_path(reading, draft)


def _preset_problems(request: Request) -> list[Problem]:
    if request.preset is None:
        return []
    return [Problem(f"--preset {request.preset}", "a run that is reopened has its config; give overrides instead.")]
