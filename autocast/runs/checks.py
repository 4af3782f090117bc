"""A config against the signatures of what it constructs, before anything is constructed."""

from __future__ import annotations

import ast
import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import InterpolationToMissingValueError, OmegaConfBaseException

from autocast.runs.annotations import entry_type, is_undecided, mismatch
from autocast.runs.environment import (
    EXTRAS,
    OWN_TARGETS,
    REDACTED,
    SHORTEST_SECRET,
    TARGETS,
    added_targets,
    is_allowed_target,
    is_secret_key,
    is_secret_variable,
    secret_values,
)
from autocast.runs.own_keys import OWN
from autocast.runs.problems import Problem, did_you_mean, nearest
from autocast.runs.ranges import RANGES, Wanted
from autocast.runs.signatures import UNKNOWN_DEFAULT, Parameter, Signature, Signatures
from autocast.runs.sources import NoSourceError, NoSuchTargetError
from autocast.runs.spine import ROOTS, SECTIONS, dataclass_name

SPECIAL = ("_target_", "_partial_", "_convert_", "_recursive_")
REMEDIES = {"datamodule.data_path": "--dataset DIR or datamodule.data_path=DIR"}
"""How to give a missing value, where there is more to say than its key."""
SECRET_ASSIGNED = re.compile(r"""(?i)\b\w*(?:KEY|TOKEN|SECRET|PASSWORD)=["']?[^\s"'$`(]""")
"""`export WANDB_API_KEY=abc`; not `=$(cat file)` or `=$OTHER`, which are read where the job runs."""
NO_SUCH_KEY = "no such key."
NO_SECRETS = "A secret never enters a config. Set it in the environment or in .env."


@dataclass
class Checker:
    """Collects all that is wrong with a config; subjects of the problems are its key paths."""

    signatures: Signatures
    problems: list[Problem] = field(default_factory=list)
    unchecked: list[str] = field(default_factory=list)
    """What could not be checked, and why."""
    is_resolved: bool = False
    """Whether the config that was checked holds no references any more."""
    _references: dict[str, str] = field(default_factory=dict)
    """Keys whose value is that of another key."""

    def check(self, config: DictConfig, root: str) -> DictConfig:
        """Checks everything and returns the config, with references resolved unless one of them is a problem."""
        self._check_interpolations(config)
        self.is_resolved = not self.problems
        plain: Any = self._without_secrets("", OmegaConf.to_container(config, resolve=self.is_resolved))
        self._check_section("", plain, ROOTS[root])
        for key, name in SECTIONS.items():
            if isinstance(plain.get(key), dict):
                self._check_section(key, plain[key], name)
        self._check_node("", plain)
        return OmegaConf.create(plain, flags={"struct": True})

    def _check_interpolations(self, config: DictConfig) -> None:
        """References that lead nowhere, and those that would write a secret into the config."""
        for key, text in _texts("", OmegaConf.to_container(config, resolve=False)):
            if "${" not in text:
                continue
            secret = next((v for v in _environment_variables(text) if is_secret_variable(v)), None)
            if secret:
                self._add(key, f"{secret} is a secret and never enters a config. Leave it in the environment.")
                continue
            try:
                OmegaConf.select(config, key, throw_on_resolution_failure=True)
            except InterpolationToMissingValueError as error:
                missing = re.search(r"Missing mandatory value: (\S+)", str(error))
                self._add_missing(missing[1] if missing else key)
                continue
            except OmegaConfBaseException as error:
                self._add(key, f"{text} leads nowhere ({str(error).splitlines()[0]}).")
                continue
            if reference := re.fullmatch(r"\$\{(?:oc\.select:)?([\w.]+)(?:,null)?\}", text):
                self._references[key] = reference[1]

    def _without_secrets(self, path: str, node: Any) -> Any:
        """The config with every secret in it replaced, each a problem."""
        if isinstance(node, Mapping):
            return {key: self._without_secret(_join(path, key), key, child) for key, child in node.items()}
        if isinstance(node, list):
            return [self._without_secrets(f"{path}[{index}]", child) for index, child in enumerate(node)]
        if _is_text(node) and path.startswith("cluster.") and SECRET_ASSIGNED.search(node):
            self._add(path, f"gives a secret its value, and scripts and configs are read by others. {NO_SECRETS}")
            return REDACTED
        name = next((name for value, name in secret_values().items() if value in node), "") if _is_text(node) else ""
        if not name:
            return node
        self._add(path, f"has the value of {name} in it. {NO_SECRETS}")
        return REDACTED

    def _without_secret(self, path: str, key: Any, value: Any) -> Any:
        if not is_secret_key(str(key)) or not _can_be_secret(value):
            return self._without_secrets(path, value)
        self._add(path, NO_SECRETS)
        return REDACTED

    def _check_section(self, path: str, values: dict[str, Any], dataclass: str) -> None:
        """A section of the spine; keys that it lacks get the defaults of its dataclass."""
        signature = self.signatures.read(dataclass_name(dataclass))
        self._check_keywords(path, values, signature, needs_all=True)
        self._check_ranges(path, values, signature, RANGES.get(dataclass_name(dataclass), {}))
        for name, parameter in signature.parameters.items():
            default = parameter.default
            if name not in values and isinstance(default, ast.Constant) and default is not UNKNOWN_DEFAULT:
                values[name] = default.value

    def _check_node(self, path: str, node: Any) -> None:
        """Every leaf at or below `path`, and every value that is still missing."""
        if isinstance(node, Mapping):
            if "_target_" in node:
                self._check_leaf(path, node)
            for key, child in node.items():
                self._check_node(_join(path, key), child)
        elif isinstance(node, list):
            for index, child in enumerate(node):
                self._check_node(f"{path}[{index}]", child)
        elif node == "???":
            self._add_missing(path)

    def _check_leaf(self, path: str, leaf: Mapping[str, Any]) -> None:
        signature = self._signature(_join(path, "_target_"), leaf["_target_"])
        if signature is None:
            return
        self._check_keywords(path, leaf, signature, needs_all="_partial_" not in leaf or not leaf["_partial_"])
        self._check_ranges(path, leaf, signature, RANGES.get(leaf["_target_"], {}))

    def _signature(self, key: str, target: Any) -> Signature | None:
        if target == "???":
            return None
        if not isinstance(target, str) or not is_allowed_target(target):
            allowed = ", ".join((*OWN_TARGETS, *added_targets()))
            self._add(key, f"{target} is not allowed. Allowed are {allowed}; add a package with {TARGETS}=NAME.")
            return None
        try:
            return self.signatures.read(target)
        except NoSuchTargetError as error:
            extra = f" pip install 'autocast[{EXTRAS[error.missing]}]'." if error.missing in EXTRAS else ""
            self._add(key, f"{target}: {error}.{extra or did_you_mean(nearest(error.missing, error.beside))}")
        except NoSourceError as error:
            self.unchecked.append(f"{key}: the keywords of {target} ({error})")
        return None

    def _check_keywords(self, path: str, values: Mapping[str, Any], signature: Signature, *, needs_all: bool) -> None:
        for key, value in values.items():
            if key in SPECIAL:
                continue
            if _join(path, key) in OWN:
                self._check_own(_join(path, key), value)
                continue
            parameter = signature.parameters.get(key)
            if parameter is None and not signature.is_open:
                names = [name for name in signature.settable(values) if not name.startswith("_")]
                names += [own.rpartition(".")[2] for own in OWN if own.rpartition(".")[0] == path]
                meant = nearest(key, names)
                hint = did_you_mean(_join(path, meant)) if meant else _listed(names)
                self._add_itself(_join(path, key), f"{NO_SUCH_KEY}{hint}")
            elif parameter:
                self._check_value(_join(path, key), value, parameter)
        for name, parameter in signature.parameters.items():
            if needs_all and parameter.required and name not in values:
                self._add_missing(_join(path, name))

    def _check_own(self, path: str, value: Any) -> None:
        try:
            OWN[path](value)
        except ValueError as error:
            self._add(path, f"{error}.")

    def _check_value(self, path: str, value: Any, parameter: Parameter) -> None:
        entries = entry_type(parameter.annotation)
        if entries is not None and isinstance(value, Mapping):
            for key, entry in value.items():
                self._check_value(_join(path, key), entry, Parameter(str(key), entries, None))
        elif wanted := mismatch(value, parameter):
            self._add(path, f"{_shown(value)}: {wanted}.")

    def _check_ranges(
        self, path: str, values: Mapping[str, Any], signature: Signature, ranges: Mapping[str, Wanted]
    ) -> None:
        """Values that have their type and cannot be all the same."""
        for key, wanted in ranges.items():
            value, parameter = values.get(key), signature.parameters.get(key)
            if value is None or parameter is None or is_undecided(value) or mismatch(value, parameter):
                continue
            if instead := wanted(value):
                self._add(_join(path, key), f"{_shown(value)}: {instead}.")

    def _add_missing(self, path: str) -> None:
        self._add(path, f"has no value. Give {REMEDIES.get(path, f'{path}=VALUE')}.")

    def _add(self, path: str, message: str) -> None:
        """A value that refers to another key is that key's problem."""
        while path in self._references:
            path = self._references[path]
        self._add_itself(path, message)

    def _add_itself(self, path: str, message: str) -> None:
        """A key that may not be there, whatever its value."""
        if Problem(path, message) not in self.problems:
            self.problems.append(Problem(path, message))


def _is_text(node: Any) -> bool:
    """Whether it is written out; a reference is looked at when it is resolved."""
    return isinstance(node, str) and "${" not in node


def _can_be_secret(value: Any) -> bool:
    """Whether the value of a secret name is one: not a switch, a size (`d_key: 64`), or a part that is constructed."""
    if isinstance(value, bool) or (isinstance(value, Mapping) and "_target_" in value):
        return False
    if isinstance(value, str):
        return _is_text(value) and value not in ("", "???")
    return bool(value) and len(str(value)) >= SHORTEST_SECRET


def _texts(path: str, node: Any) -> Iterator[tuple[str, str]]:
    if isinstance(node, Mapping):
        for key, child in node.items():
            yield from _texts(_join(path, key), child)
    elif isinstance(node, list):
        for index, child in enumerate(node):
            yield from _texts(f"{path}[{index}]", child)
    elif isinstance(node, str):
        yield path, node


def _environment_variables(text: str) -> list[str]:
    return [part.split(",")[0].split("}")[0].strip() for part in text.split("oc.env:")[1:]]


def _join(path: str, key: Any) -> str:
    return f"{path}.{key}" if path else str(key)


def _shown(value: Any) -> str:
    text = json.dumps(value, ensure_ascii=False, default=str)
    return text if len(text) <= 40 else f"{text[:37]}..."


def _listed(names: list[str]) -> str:
    return f" There are: {', '.join(names)}." if names else " Nothing can be set here."
