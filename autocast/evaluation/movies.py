"""Frames to a file: H.264 in mp4, or an animated GIF where there is no encoder."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path
from typing import Protocol

import imageio_ffmpeg
import numpy as np
from PIL import Image

from autocast.signals import children_shielded


class Film(Protocol):
    """Frames on demand, so that a film is never in memory whole and can be begun again."""

    @property
    def n_frames(self) -> int: ...

    def frame(self, index: int) -> np.ndarray:
        """`(H, W, 3)` uint8, every frame of the same even size."""
        ...


def find_ffmpeg() -> str | None:
    """The encoder that imageio-ffmpeg brings, or `$IMAGEIO_FFMPEG_EXE`; None where there is none."""
    try:
        return imageio_ffmpeg.get_ffmpeg_exe()
    except RuntimeError:
        return None


def write_film(film: Film, path: Path, fps: float = 10.0) -> Path:
    """Write `film` to `path` (.mp4), or beside it as .gif where mp4 cannot be encoded.

    The file appears under its name only when it is complete.

    Returns:
        The path written.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    ffmpeg = find_ffmpeg()
    if ffmpeg is not None:
        mp4 = path.with_suffix(".mp4")
        if _encode(ffmpeg, film, _partial(mp4), fps):
            return _partial(mp4).replace(mp4)
        _partial(mp4).unlink(missing_ok=True)
    gif = path.with_suffix(".gif")
    _animate(film, _partial(gif), fps)
    return _partial(gif).replace(gif)


def forget_partials(directory: Path, pid: int) -> None:
    """Removes what a process that has ended left unfinished."""
    for file in directory.glob(f".*.{pid}.partial.*"):
        file.unlink(missing_ok=True)


def _partial(path: Path) -> Path:
    return path.with_name(f".{path.stem}.{os.getpid()}.partial{path.suffix}")


def _encode(ffmpeg: str, film: Film, path: Path, fps: float) -> bool:
    """Whether ffmpeg took all the frames: one without libx264 does not."""
    height, width, _ = film.frame(0).shape
    source = ["-f", "rawvideo", "-pix_fmt", "rgb24", "-s", f"{width}x{height}", "-r", str(fps), "-i", "-"]
    # yuv420p and even sizes: other formats play in some browsers only. faststart: play before all of it has come.
    # A given number of threads, because the bytes of the file depend on it.
    target = ["-an", "-c:v", "libx264", "-pix_fmt", "yuv420p", "-preset", "veryfast", "-crf", "20", "-threads", "2"]
    command = [ffmpeg, "-y", "-loglevel", "error", *source, *target, "-movflags", "+faststart", str(path)]
    with children_shielded():  # a film that was begun is finished, whatever the scheduler says
        encoder = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    with encoder as job:
        assert job.stdin is not None
        try:
            for index in range(film.n_frames):
                job.stdin.write(np.ascontiguousarray(film.frame(index)).data)
            job.stdin.close()
        except BrokenPipeError:  # it gave up; its exit status says so
            pass
    return job.returncode == 0


def _animate(film: Film, path: Path, fps: float) -> None:
    pictures = [Image.fromarray(film.frame(i)).quantize(128) for i in range(film.n_frames)]
    duration = max(20, round(1000 / fps))  # browsers slow down shorter ones
    pictures[0].save(path, save_all=True, append_images=pictures[1:], duration=duration, loop=0)
