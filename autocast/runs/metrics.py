"""What a training's `metrics.jsonl` holds."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any


def epoch_records(file: Path) -> list[dict[str, Any]]:
    """One record for each epoch; a last line that a kill cut short does not count."""
    lines = file.read_text(encoding="utf-8").split("\n")[:-1]  # a whole line ends in a newline
    return [json.loads(line) for line in lines]
