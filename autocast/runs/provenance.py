"""Where a run came from: command line, code, packages and machine, without importing torch and without secrets."""

from __future__ import annotations

import os
import platform
import re
import shutil
import socket
import subprocess
import sys
import tempfile
import time
from importlib import metadata
from pathlib import Path
from typing import Any

from autocast.runs.environment import REDACTED, redact, without_secret_values

LARGEST_UNTRACKED = 200_000
LARGEST_PATCH = 2_000_000
SECRET_IN_CODE = re.compile(
    r"""(?ix) (?P<name> [\w.-]* (?: api_?key | access_?key | token | secret | password ) [\w.-]* ["']? \s* [:=] \s* )
    (?: ["'] [^"'\n]{6,} ["'] | [A-Za-z0-9+/_.=-]* [0-9] [A-Za-z0-9+/_.=-]{7,} )"""
)
"""A literal that is assigned to a secret name; `sorted(values, key=size)` is none."""
DIFFERENCE = ["git", "diff", "--no-ext-diff", "--no-color", "HEAD"]
"""As git itself writes it, whatever the user has configured for looking at it."""


def provenance() -> dict[str, Any]:
    """Where a run came from, as far as can be known without torch."""
    return {
        "argv": command_line(),
        "directory": str(Path.cwd()),
        "created": time.strftime("%Y-%m-%dT%H:%M:%S%z"),
        "user_targets": os.environ.get("AUTOCAST_TARGETS", ""),
        "code": [code for root in _repositories() if (code := git_state(root))],
        "packages": package_versions(),
        "device": machine(),
    }


def command_line() -> list[str]:
    """The words of this process, without secrets; `python -m autocast` counts as `autocast`."""
    program = Path(sys.argv[0]).name
    return ["autocast" if program == "__main__.py" else program, *(redact(word) for word in sys.argv[1:])]


def package_versions() -> dict[str, str]:
    """Installed versions of what autocast declares, asked without importing any of it."""
    names = {
        re.split(r"[^A-Za-z0-9._-]", text)[0] for text in metadata.requires("autocast") or [] if "extra" not in text
    }
    versions = {"python": platform.python_version(), "autocast": metadata.version("autocast")}
    for name in sorted(names):
        try:
            versions[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            versions[name] = "not installed"
    return versions


def machine() -> dict[str, Any]:
    return {
        "host": socket.gethostname(),
        "platform": platform.platform(),
        "cpus": os.cpu_count(),
        "gpus": gpu_names(),
    }


def gpu_names() -> list[str]:
    """What nvidia-smi lists; nothing where there is none."""
    if not shutil.which("nvidia-smi"):
        return []
    lines = _output(["nvidia-smi", "--query-gpu=name,memory.total", "--format=csv,noheader"]) or ""
    return [line.strip() for line in lines.splitlines()]


def git_state(root: Path) -> dict[str, Any] | None:
    """Commit and difference to it, new files included, git-ignored ones not, secrets redacted."""
    sha = _output(["git", "rev-parse", "HEAD"], root)
    if sha is None:
        return None
    patch = redact_patch(_patch(root))
    cut = len(patch) > LARGEST_PATCH
    return {"root": str(root), "sha": sha.strip(), "dirty": bool(patch), "patch": patch[:LARGEST_PATCH], "cut": cut}


def _patch(root: Path) -> str:
    """`git diff HEAD` with untracked files as new ones, through a copy of the index: the user's is not touched."""
    listed = _output(["git", "ls-files", "--others", "--exclude-standard", "-z"], root) or ""
    small = [name for name in listed.split("\0") if name and (root / name).is_file()]
    small = [name for name in small if (root / name).stat().st_size <= LARGEST_UNTRACKED]
    index = _output(["git", "rev-parse", "--git-path", "index"], root)
    with tempfile.TemporaryDirectory() as folder:
        copy = Path(folder) / "index"
        original = root / (index or "").strip()
        if small and original.is_file():
            shutil.copy2(original, copy)  # its time tells git which files may have changed within the same tick
            environment = {"GIT_INDEX_FILE": str(copy)}
            _output(["git", "add", "--intent-to-add", "--", *small], root, environment)
            return _output(DIFFERENCE, root, environment) or ""
    return _output(DIFFERENCE, root) or ""


def _repositories() -> list[Path]:
    """Top levels of the repositories of the package's source and of the working directory."""
    places = (Path(__file__).parent, Path.cwd())
    tops = [top.strip() for place in places if (top := _output(["git", "rev-parse", "--show-toplevel"], place))]
    return [Path(top) for top in dict.fromkeys(tops)]


def _output(command: list[str], folder: Path | None = None, environment: dict[str, str] | None = None) -> str | None:
    """Standard output of a command, or None where it is not there, fails or hangs."""
    try:
        done = subprocess.run(
            command,
            cwd=folder,
            env={**os.environ, **(environment or {})},
            capture_output=True,
            text=True,
            errors="replace",
            timeout=20,
            check=True,
        )
    except (OSError, subprocess.SubprocessError):
        return None
    return done.stdout


def redact_patch(text: str) -> str:
    """A difference without the values of secret variables and without literals that are assigned to secret names."""
    return SECRET_IN_CODE.sub(rf"\g<name>{REDACTED}", without_secret_values(text))
