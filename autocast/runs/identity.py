"""Who a run is: its uid, its name, the signature that finds duplicates, and the digests of files."""

from __future__ import annotations

import hashlib
import json
import os
import re
import secrets
import time
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

NAMES = ("hydra", "perceptual", "logging", "cluster", "eval.name", "eval.video_dir", "eval.checkpoint")
TRAINER_RESOURCES = (
    *("accelerator", "devices", "num_nodes", "strategy", "max_time", "budget", "default_root_dir"),
    *("compile", "micro_batch"),
)
DATA_RESOURCES = ("n_workers", "placement", "memory_limit")
EVAL_RESOURCES = ("batch_size", "max_rows", "memory_limit", "devices", "compile")
ALWAYS_FREE = (
    *NAMES,
    *(f"trainer.{key}" for key in TRAINER_RESOURCES),
    *(f"datamodule.{key}" for key in DATA_RESOURCES),
    *(f"eval.{key}" for key in EVAL_RESOURCES),
    "gate",
    "samples",
)
FREE = {
    "train": (*ALWAYS_FREE, "eval", "checkpoint"),
    "eval": (*ALWAYS_FREE, "trainer", "optimizer", "callbacks", "checkpoint", "init"),
}
"""Keys that do not change what comes out of a stage: names, resources, and the settings of other stages."""
OF_A_TERM = re.compile(r"model\.objective\.terms\.[^.]+\.(device|weights_file)")
"""Where a term of an objective is computed, and where its published weights lie: neither changes what comes out."""


def new_uid() -> str:
    """Eight characters that no other run has."""
    return secrets.token_hex(4)


def run_name(kind: str, dataset: str, processor: str | None) -> str:
    """`<kind>_<dataset>_<processor>_<HHMMSS>_<4 hex>`, safe as the name of a directory."""
    parts = [kind, dataset, *([processor] if processor else []), time.strftime("%H%M%S"), secrets.token_hex(2)]
    return "_".join(re.sub(r"[^A-Za-z0-9._-]+", "-", part).strip("-") or "x" for part in parts)


def signature(config: Mapping[str, Any], stage: str, inputs: Mapping[str, str]) -> str:
    """A hash of the resolved config without names and resources.

    Args:
        inputs: What stands in for keys that are paths: the sha256 of a checkpoint, the place of a data set.
    """
    free = (*FREE["train" if stage == "train" else "eval"], *inputs)
    signed = {key: value for key, value in flatten(config) if not is_under(key, free) and not OF_A_TERM.fullmatch(key)}
    text = json.dumps({**signed, **inputs}, sort_keys=True, default=str)
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def flatten(config: Any, prefix: str = "") -> Iterator[tuple[str, Any]]:
    """`(dotted key, value)` of every leaf; lists and empty mappings are leaves."""
    if not isinstance(config, Mapping) or (prefix and not config):
        yield prefix, config
        return
    for key, value in config.items():
        yield from flatten(value, f"{prefix}.{key}" if prefix else str(key))


def is_under(key: str, prefixes: Iterable[str]) -> bool:
    """Whether a dotted key is one of the prefixes or below one."""
    return any(key == prefix or key.startswith(f"{prefix}.") for prefix in prefixes)


def differences(old: Mapping[str, Any], new: Mapping[str, Any]) -> dict[str, tuple[Any, Any]]:
    """`key: (old value, new value)` for every leaf in which two configs differ; a missing one is None."""
    before, after = dict(flatten(old)), dict(flatten(new))
    keys = dict.fromkeys([*before, *after])
    return {key: (before.get(key), after.get(key)) for key in keys if before.get(key) != after.get(key)}


def sha256(file: Path) -> str:
    with file.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def fingerprint(file: Path) -> dict[str, Any]:
    """What a marker says of a product: enough to see cheaply that it is unchanged, and to prove it."""
    status = file.stat()
    return {"sha256": sha256(file), "size": status.st_size, "mtime_ns": status.st_mtime_ns}


def known_sha256(file: Path, known: Mapping[str, Any] | None) -> str:
    """The digest of a file, taken from an earlier fingerprint where size and time say that it still holds."""
    status = file.stat()
    if known and (known["size"], known["mtime_ns"]) == (status.st_size, status.st_mtime_ns):
        return known["sha256"]
    return sha256(file)


def write_json(file: Path, content: Mapping[str, Any]) -> None:
    write_text(file, json.dumps(content, indent=2, default=str) + "\n")


def write_text(file: Path, text: str) -> None:
    """Written beside and renamed, so that a reader never sees half of it."""
    file.parent.mkdir(parents=True, exist_ok=True)
    part = file.with_name(f".{file.name}.{os.getpid()}.part")
    part.write_text(text, encoding="utf-8")
    part.replace(file)
