"""The user's own file, `~/.config/autocast/config.yaml`: a default profile and account, and where things lie."""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

from autocast.errors import ConfigError
from autocast.runs.problems import did_you_mean, nearest


@dataclass(frozen=True)
class UserSettings:
    cluster: str | None = None
    """The cluster profile where neither the command line nor AUTOCAST_CLUSTER names one."""
    account: str | None = None
    """The account of jobs where the profile has none."""
    datasets: str | None = None
    """Where AUTOCAST_DATASETS is not set."""
    outputs: str | None = None
    """Where AUTOCAST_OUTPUTS is not set."""


def settings_file() -> Path | None:
    """Where the file would be; None for a user without a home."""
    base, home = os.environ.get("XDG_CONFIG_HOME"), os.environ.get("HOME")
    directory = Path(base) if base else Path(home) / ".config" if home else None
    return directory / "autocast" / "config.yaml" if directory else None


def user_settings() -> UserSettings:
    """What the user's file says; nothing where there is none.

    Raises:
        ConfigError: The file cannot be read, or holds something else.
    """
    file = settings_file()
    if file is None or not file.is_file():
        return UserSettings()
    content = _read(file)
    faults = list(_faults(content))
    if faults:
        raise ConfigError(f"{file}: {'; '.join(faults)}")
    return UserSettings(**content)


def _read(file: Path) -> dict[str, Any]:
    import yaml  # most users have no such file

    try:
        content = yaml.safe_load(file.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        raise ConfigError(f"{file} cannot be read: {error}") from error
    if content is not None and not isinstance(content, dict):
        raise ConfigError(f"{file}: keys and values are wanted, such as 'account: my-project'")
    return content or {}


def _faults(content: dict[str, Any]) -> Iterator[str]:
    known = [field.name for field in fields(UserSettings)]
    for key, value in content.items():
        if key not in known:
            hint = did_you_mean(nearest(str(key), known))
            yield f"{key}: no such key. There are: {', '.join(known)}.{hint}"
        elif value is not None and not isinstance(value, str):
            yield f"{key}: {value}: a text is wanted; quote a number"
