"""A command line of bare Hydra overrides, `hydra.run.dir=DIR` and `--config-dir DIR` among them."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path


def run(command: str) -> None:
    """Runs the words of `sys.argv` as `autocast COMMAND` would."""
    from autocast.runs.exits import INTERRUPTED
    from autocast.runs.launch import run as start
    from autocast.runs.request import Request

    parser = argparse.ArgumentParser(description=f"The same as 'autocast {command}', with Hydra overrides only.")
    parser.add_argument("overrides", nargs="*", help="key=value, group=option, hydra.run.dir=DIR, ...")
    parser.add_argument("--config-dir", "-cd", type=Path, help="a directory with configs of your own")
    words = parser.parse_intermixed_args()
    try:
        sys.exit(start(Request(command, tuple(words.overrides), config_dir=words.config_dir)))
    except KeyboardInterrupt:
        sys.exit(INTERRUPTED)
