"""Films drawn at once, in the process of the test."""

from __future__ import annotations

import dataclasses
from pathlib import Path

from autocast.evaluation.result import EvaluationResult
from autocast.evaluation.videos import Video, draw_example_video, planned_videos


def draw_videos(result: EvaluationResult, directory: Path) -> list[Video]:
    """One film for each example of the result."""
    return [
        dataclasses.replace(film, path=draw_example_video(example, result.spec, film.path))
        for film, example in zip(planned_videos(result, directory), result.examples, strict=True)
    ]
