"""What is read from the environment and `.env`: places, allowed targets, and which names are secret."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

from autocast.runs.user_settings import user_settings

TARGETS = "AUTOCAST_TARGETS"
DATASETS, OUTPUTS = "AUTOCAST_DATASETS", "AUTOCAST_OUTPUTS"
CONFIG_PATH = "AUTOCAST_CONFIG_PATH"

OWN_TARGETS = ("autocast", "torch.optim", "torch.nn", "lightning.pytorch", "pytorch_optimizer")
"""Prefixes of `_target_` that are always allowed."""
EXTRAS = {"pytorch_optimizer": "soap"}
"""The extra of this package that installs one that may not be there."""

REDACTED = "***"
SHORTEST_SECRET = 6
"""Shorter values (a flag, a number) would blank ordinary text."""

_SECRET_VARIABLE = re.compile(r"KEY|TOKEN|SECRET|PASSWORD", re.IGNORECASE)
_SECRET_WORD = r"(?:api|access|private|secret)[_-]?keys?|token|secrets?|passwords?"
_SECRET_KEY = re.compile(rf"(?:^|[_-])(?:{_SECRET_WORD}|key)$", re.IGNORECASE)
_ASSIGNMENT = re.compile(
    rf"""(?ix) (?<! [\w-] ) (?P<name> (?: [\w.@/-]* [_.@/-] )? (?: {_SECRET_WORD} ) | [\w.@/-]* [_.@/-] key )
    (?P<sign> ["']? [ \t]* [:=] [ \t]* ) (?: "[^"\n]*" | '[^'\n]*' | \*{{3}} | \S+ )"""
)
"""`api_key=x`, `"api_key": "x"`; a bare `key` is more often the argument of a sort than a secret."""


def read_environment(directory: Path | None = None) -> None:
    """Adds the variables of `.env` in the working directory, then the roots of the user's own file.

    What the environment says already wins.

    Raises:
        ConfigError: The user's file cannot be read.
    """
    file = (directory or Path.cwd()) / ".env"
    if file.is_file():
        from dotenv import load_dotenv  # most directories have no .env

        load_dotenv(file, override=False)
    settings = user_settings()
    for name, root in ((DATASETS, settings.datasets), (OUTPUTS, settings.outputs)):
        if root and not os.environ.get(name):
            os.environ[name] = str(Path(root).expanduser())


def datasets_dir() -> Path:
    return Path(os.environ.get(DATASETS) or "datasets").expanduser()


def own_config_dirs(config_dir: Path | None = None) -> list[Path]:
    """The user's config directories: `--config-dir`, then those of `AUTOCAST_CONFIG_PATH`."""
    listed = [Path(text) for text in os.environ.get(CONFIG_PATH, "").split(os.pathsep) if text]
    return [path.expanduser().absolute() for path in ([config_dir] if config_dir else []) + listed]


def added_targets() -> tuple[str, ...]:
    """Packages that `AUTOCAST_TARGETS` allows, by name."""
    return tuple(re.split(r"[,:\s]+", text)) if (text := os.environ.get(TARGETS, "").strip(" ,:")) else ()


def allow_recorded_targets(recorded: str) -> None:
    """What a run was started with is allowed again, unless the environment says what is."""
    if recorded:
        os.environ.setdefault(TARGETS, recorded)


@contextmanager
def recorded_targets_allowed(recorded: str) -> Iterator[None]:
    """Inside, what a run was started with is allowed, unless the environment says what is."""
    said = TARGETS in os.environ
    allow_recorded_targets(recorded)
    try:
        yield
    finally:
        if not said:
            os.environ.pop(TARGETS, None)


def is_allowed_target(target: str) -> bool:
    return _has_prefix(target, OWN_TARGETS) or is_added_target(target)


def is_added_target(target: str) -> bool:
    return _has_prefix(target, added_targets())


def is_secret_variable(name: str) -> bool:
    """Whether the value of an environment variable must never be written anywhere."""
    return _SECRET_VARIABLE.search(name) is not None


def is_secret_key(key: str) -> bool:
    """Whether a config key is one that holds a secret (`logging.wandb.api_key`; not `n_tokens`)."""
    return _SECRET_KEY.search(key.rpartition(".")[2]) is not None


def redact(text: str, environ: Mapping[str, str] | None = None) -> str:
    """`text` without the values of secret variables, and without what is assigned to a secret name in it."""
    return _ASSIGNMENT.sub(rf"\g<name>\g<sign>{REDACTED}", without_secret_values(text, environ))


def without_secret_values(text: str, environ: Mapping[str, str] | None = None) -> str:
    """`text` without the values of secret variables."""
    for value in sorted(secret_values(environ), key=len, reverse=True):
        text = text.replace(value, REDACTED)
    return text


def secret_values(environ: Mapping[str, str] | None = None) -> dict[str, str]:
    """The values that must never be written anywhere, each with the name of its variable."""
    environ = os.environ if environ is None else environ
    secret = {value: name for name, value in environ.items() if is_secret_variable(name)}
    return {value: name for value, name in secret.items() if len(value) >= SHORTEST_SECRET}


def _has_prefix(target: str, prefixes: tuple[str, ...]) -> bool:
    return any(target == prefix or target.startswith(f"{prefix}.") for prefix in prefixes)
