"""Runs the package's commands in forks of one process that has imported everything: the documents have a hundred.

Imports are most of the time that a toy command takes. Each test process therefore starts one server, and finds scripts
of the commands' names in a folder of its own. Such a script hands its words, working directory, environment and open
files to the server, which forks; the child does what the installed script does, and the script ends as it does.

A command that starts processes itself, or that is told to find the package elsewhere, goes to the installed script.
What a fork does not show: what a process imports, how long that takes, and what happens while Python takes it apart.
"""

from __future__ import annotations

import atexit
import contextlib
import gc
import importlib
import marshal
import os
import pkgutil
import select
import signal
import socket
import subprocess
import sys
import tempfile
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from importlib.metadata import EntryPoint, entry_points
from pathlib import Path
from typing import Any, NoReturn

CLIENT = """#!{python} -IS
import marshal, os, signal, socket, sys

own = "--dry-run" not in sys.argv and {own!r}.intersection(sys.argv)
if own or os.environ.get("PYTHONPATH") != {package!r}:
    os.execv({script!r}, [{script!r}, *sys.argv[1:]])
with socket.socket(socket.AF_UNIX) as server:
    server.connect({address!r})
    socket.send_fds(server, [b"."], [0, 1, 2])
    server.sendall(marshal.dumps((sys.argv, os.getcwd(), dict(os.environ))))
    server.shutdown(socket.SHUT_WR)
    child = marshal.loads(server.recv(5))
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, lambda number, _: os.kill(child, number))
    code = marshal.loads(server.recv(5))
if code < 0:
    if -code != signal.SIGKILL:
        signal.signal(-code, signal.SIG_DFL)
    os.kill(os.getpid(), -code)
os._exit(code)
"""
"""Without `site`, and with little to import, it is there at once."""

OWN_PROCESSES = {"--detach", "slurm", "--mode=slurm"}
"""Words of commands that start processes, and therefore go to the installed script."""

LAZY = ("lightning", "matplotlib.pyplot", "wandb")
"""What modules of the package import when they need it."""

ENDED: list[int] = []
"""The exit code of the command that this process is, once it is known."""


@contextlib.contextmanager
def serve(own_processes: Collection[str] = OWN_PROCESSES, **variables: str) -> Iterator[Path]:
    """Starts a server; it ends with the test process, whatever becomes of that.

    Args:
        own_processes: Words of commands that go to the installed script.
        variables: What the server's environment has besides; of a command, `PYTHONPATH` must be the same.

    Yields:
        A folder with a script for each command, for the front of `PATH`.
    """
    with tempfile.TemporaryDirectory(prefix="forks-") as folder:  # sockets want a short path
        address = f"{folder}/socket"
        environment = {**os.environ, "OMP_NUM_THREADS": "1", **variables}
        settings = {"address": address, "own": set(own_processes), "package": environment.get("PYTHONPATH")}
        _write_scripts(Path(folder), settings)
        words = [sys.executable, "-P", __file__, address]
        pipes: dict[str, Any] = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE}
        with subprocess.Popen(words, env=environment, **pipes) as server:
            assert server.stdout is not None
            assert server.stdout.readline() == b"ready\n"
            yield Path(folder)


def _write_scripts(folder: Path, settings: Mapping[str, Any]) -> None:
    for entry in _entries():
        file, installed = folder / entry.name, Path(sys.executable).with_name(entry.name)
        file.write_text(CLIENT.format(python=sys.executable, script=str(installed), **settings))
        file.chmod(0o755)


def _entries() -> list[EntryPoint]:
    return [entry for entry in entry_points(group="console_scripts") if entry.module.startswith("autocast.")]


def _listen(address: str) -> None:
    """Forks for each command until standard input is closed."""
    modules = pkgutil.walk_packages(importlib.import_module("autocast").__path__, "autocast.")
    for name in (*LAZY, *(module.name for module in modules if not module.name.endswith("__main__"))):
        with contextlib.suppress(Exception):  # to be met again, and told, in a command that needs the module
            importlib.import_module(name)
    commands = {entry.name: entry.load() for entry in _entries()}
    assert len(list(Path("/proc/self/task").glob("*"))) <= 1, "a fork has only one of the threads"
    gc.collect()
    gc.freeze()  # a child that collects does not copy all of it
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)  # nobody asks how the attendants ended
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(address)
        listener.listen()
        os.write(1, b"ready\n")
        while sys.stdin not in select.select([listener, sys.stdin], [], [])[0]:
            client, _ = listener.accept()
            if os.fork() == 0:
                listener.close()
                _attend(client, commands)
            client.close()


def _attend(client: socket.socket, commands: Mapping[str, Callable[[], None]]) -> None:
    """Forks once more: the child becomes the command, and the parent tells the client how it ends."""
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    files = socket.recv_fds(client, 1, 3)[1]
    with client.makefile("rb") as request:
        argv, cwd, environment = marshal.load(request)
    child = os.fork()
    if child == 0:
        client.close()
        _enter(argv, cwd, environment, files)
        _run(commands[Path(argv[0]).name])
    for file in files:
        os.close(file)
    client.sendall(marshal.dumps(child))
    client.sendall(marshal.dumps(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])))
    os._exit(0)


def _enter(argv: list[str], cwd: str, environment: Mapping[str, str], files: Sequence[int]) -> None:
    """Makes this process the one that a shell would have started."""
    for number, file in enumerate(files):
        os.dup2(file, number)
        os.close(file)
    os.chdir(cwd)
    os.environ.clear()
    os.environ.update(environment)
    sys.argv = argv
    sys.path.insert(0, str(Path(argv[0]).parent))


def _run(command: Callable[[], None]) -> NoReturn:
    try:
        sys.exit(command())
    except SystemExit as end:
        if end.code is None or isinstance(end.code, int):
            ENDED.append(end.code or 0)
        raise


def _leave() -> None:
    """The last of the functions that Python calls at its exit; what follows would copy all memory to take it apart."""
    if ENDED:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(ENDED[0])


if __name__ == "__main__":
    atexit.register(_leave)  # the first to be registered is the last to be called
    _listen(sys.argv[1])
