"""Text and tables as files, each whole or not at all."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import pandas as pd


def write_text(text: str, file: Path) -> Path:
    partial = file.with_name(f".{file.name}.{os.getpid()}")
    try:
        partial.write_text(text, encoding="utf-8")
        return partial.replace(file)
    finally:
        partial.unlink(missing_ok=True)


def write_table(table: pd.DataFrame, file: Path) -> Path:
    """As CSV: the same numbers give the same bytes."""
    return write_text(table.to_csv(index=False, float_format="%.9g", na_rep="nan", lineterminator="\n"), file)
