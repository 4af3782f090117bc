"""What `autocast sync` does: uploads offline runs of Weights & Biases with its own program."""

from __future__ import annotations

import configparser
import os
import re
import socket
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from autocast.errors import LaunchError
from autocast.runs.console import Screen
from autocast.runs.directory import RunDirectory, default_output_base, find_run
from autocast.runs.environment import read_environment, redact
from autocast.runs.exits import DONE, FAILED
from autocast.runs.watch.offline import OfflineRun, offline_runs
from autocast.runs.watch.stages import stages_of
from autocast.runs.watch.status import statuses

SERVER = "https://api.wandb.ai"
PATIENCE = 10.0
"""Seconds in which the server must answer before anything is uploaded: wandb itself tries for very long."""
ADDRESS = re.compile(r"View run .* at (\S+)")
NO_KEY = re.compile(r"no API key|api_key not configured|not logged in|invalid API key|\b401\b", re.IGNORECASE)
SETTINGS = Path("~/.config/wandb/settings")
"""Where `wandb login --host` keeps its server."""
NOTHING_DONE = "nothing was written, nothing was started"


class NoAccountError(LaunchError):
    """Weights & Biases does not know who is uploading."""


@dataclass(frozen=True)
class Upload:
    """What came of one run."""

    run: OfflineRun
    code: int
    output: str

    @property
    def address(self) -> str | None:
        found = ADDRESS.search(self.output)
        return found[1] if found else None


def sync(names: Sequence[str], *, dry_run: bool, json: bool, output_base: Path | None) -> int:
    """Uploads what the runs logged offline and has not been uploaded, in the order of time, under one id each.

    Returns:
        The exit code.

    Raises:
        NoSuchRunError: A name means no run.
        NoAccountError: There is no API key.
        LaunchError: The server cannot be reached.
    """
    read_environment()
    screen = Screen(as_json=json)
    base = output_base or default_output_base()
    directories = dict.fromkeys(find_run(name, base) for name in names)
    found = [run for directory in directories for run in _found(directory)]
    waiting = [run for run in found if run.to_upload]
    if waiting and not dry_run:
        _check_server()
    uploads = [] if dry_run else [_upload(run, screen) for run in waiting]
    if json:
        screen.document({"runs": [_document(run, uploads) for run in found], "dry_run": dry_run})
    else:
        _tell(list(directories), found, dry_run=dry_run, screen=screen)
    return FAILED if any(upload.code for upload in uploads) else DONE


def _found(directory: RunDirectory) -> list[OfflineRun]:
    return offline_runs(directory, statuses(stages_of(directory)))


def _upload(run: OfflineRun, screen: Screen) -> Upload:
    """With wandb's own command, which marks what it has uploaded."""
    folders = [str(part.folder.absolute()) for part in run.to_upload]
    screen.line(f"{_name(run)}: uploading {_parts(len(folders))}")
    command = [sys.executable, "-m", "wandb", "sync", *_append(), *folders]
    environment = {**os.environ, "WANDB_MODE": "online"}
    done = subprocess.run(command, env=environment, capture_output=True, text=True, errors="replace", check=False)
    upload = Upload(run, done.returncode, redact(f"{done.stdout}\n{done.stderr}"))
    if upload.code and NO_KEY.search(upload.output):
        raise NoAccountError(
            f"{_name(run)}: Weights & Biases does not accept the upload: there is no valid API key. Set WANDB_API_KEY, "
            "or run 'wandb login' once on this machine"
        )
    if upload.code:
        screen.error(f"{_name(run)}: wandb sync failed with exit code {upload.code}\n{_end(upload.output)}")
    else:
        screen.line(f"{_name(run)}: uploaded{f' to {upload.address}' if upload.address else ''}")
    return upload


def _append() -> list[str]:
    """What older versions of wandb need to be told, lest they begin a run anew; newer ones always add to it."""
    shown = subprocess.run(
        [sys.executable, "-m", "wandb", "sync", "--help"], capture_output=True, text=True, check=False
    )
    return ["--append"] if "--append" in shown.stdout else []


def _check_server() -> None:
    """Whether it answers at all; behind a proxy only wandb can tell."""
    server = _server()
    if any(os.environ.get(name) for name in ("HTTPS_PROXY", "https_proxy", "HTTP_PROXY", "http_proxy", "ALL_PROXY")):
        return
    place = urlsplit(server)
    port = place.port or (443 if place.scheme == "https" else 80)
    try:
        socket.create_connection((place.hostname or "", port), timeout=PATIENCE).close()
    except OSError as error:
        raise LaunchError(
            f"{server}: cannot be reached from this machine ({error}). Nothing was uploaded: run 'autocast sync' where "
            "there is internet, a login node for example, or set WANDB_BASE_URL"
        ) from error


def _server() -> str:
    if url := os.environ.get("WANDB_BASE_URL"):
        return url
    kept = configparser.ConfigParser()
    kept.read(SETTINGS.expanduser())
    return kept.get("default", "base_url", fallback=SERVER)


def _tell(directories: Sequence[RunDirectory], found: Sequence[OfflineRun], *, dry_run: bool, screen: Screen) -> None:
    for directory in directories:
        own = [run for run in found if run.directory == directory]
        if not own:
            screen.line(f"{directory.label}: nothing to upload (no offline run in <kind>/logs/wandb)")
        for run in own:
            for line in _lines(run, dry_run=dry_run):
                screen.line(line)
    if dry_run:
        screen.line(NOTHING_DONE)


def _lines(run: OfflineRun, *, dry_run: bool) -> list[str]:
    lines = []
    if dry_run and run.to_upload:
        lines += [f"{_name(run)}: would upload {_parts(len(run.to_upload))}"]
        lines += [f"  {part.folder}" for part in run.to_upload]
    elif not run.to_upload and run.open_part is None:
        lines.append(f"{_name(run)}: nothing to upload, {_parts(run.n_synced)} uploaded before")
    if run.open_part is not None:
        lines.append(
            f"{_name(run)}: {run.open_part.folder.name} is being written to; sync again when the run has ended"
        )
    return lines


def _document(run: OfflineRun, uploads: Sequence[Upload]) -> dict[str, Any]:
    upload = next((upload for upload in uploads if upload.run == run), None)
    return {
        "run": str(run.directory.path),
        "kind": run.kind,
        "id": run.id,
        "parts": [str(part.folder) for part in run.parts],
        "synced": [str(part.folder) for part in run.parts if part.is_synced],
        "waiting": [str(part.folder) for part in run.to_upload],
        "open": str(run.open_part.folder) if run.open_part else None,
        "address": upload.address if upload else None,
        "exit_code": upload.code if upload else None,
    }


def _name(run: OfflineRun) -> str:
    return f"{run.directory.label} {run.kind} (W&B run {run.id})"


def _parts(n: int) -> str:
    return "1 part" if n == 1 else f"{n} parts"


def _end(output: str) -> str:
    return "\n".join(f"  {line}" for line in output.strip().splitlines()[-8:])
