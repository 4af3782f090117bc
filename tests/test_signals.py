import os
import pickle
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from autocast.signals import REASONS, StoppedError, StopRequest, children_shielded

CHILD = "import sys, time; print('ready', flush=True); sys.stdin.readline(); print('done', flush=True)"


def send(number):
    os.kill(os.getpid(), number)


def test_signals_only_set_a_flag_and_handlers_are_restored():
    stop, before = StopRequest(), signal.getsignal(signal.SIGUSR2)
    with stop.catching(signal.SIGUSR2, signal.SIGTERM):
        assert not stop.requested
        send(signal.SIGUSR2)
        assert stop.requested
        assert stop.reason == "SIGUSR2"
    assert signal.getsignal(signal.SIGUSR2) is before
    assert stop.reason == "SIGUSR2"


@pytest.mark.parametrize("order", [REASONS, REASONS[::-1]])
def test_the_strongest_reason_counts(order):
    stop = StopRequest()
    for reason in order:
        stop.ask(reason)
    assert stop.reason == "SIGINT"


def test_an_unknown_reason_is_a_bug():
    with pytest.raises(ValueError, match="not in tuple"):
        StopRequest().ask("SIGHUP")


def test_a_second_ctrl_c_interrupts_at_once():
    stop = StopRequest()
    with stop.catching(signal.SIGINT, signal.SIGTERM):
        send(signal.SIGTERM)
        send(signal.SIGINT)
        assert stop.reason == "SIGINT"
        with pytest.raises(KeyboardInterrupt):
            send(signal.SIGINT)


def test_a_ctrl_c_of_another_rank_does_not_count_as_the_first():
    stop = StopRequest()
    with stop.catching(signal.SIGINT):
        stop.raise_to(3)
        send(signal.SIGINT)
    assert stop.reason == "SIGINT"


def test_who_replaced_the_handlers_loses_them_again():
    stop, heard = StopRequest(), []
    with stop.catching(signal.SIGTERM):
        signal.signal(signal.SIGTERM, lambda *_: heard.append("Lightning"))
        stop.reinstall()
        send(signal.SIGTERM)
    assert stop.requested
    assert not heard


def test_nested_catching_leaves_the_outer_one_in_place():
    stop = StopRequest()
    with stop.catching(signal.SIGINT, signal.SIGUSR2):
        with stop.catching(signal.SIGINT):
            pass
        send(signal.SIGINT)
        assert stop.reason == "SIGINT"


def test_another_thread_catches_nothing():
    before = signal.getsignal(signal.SIGINT)

    def work():
        with StopRequest().catching(signal.SIGINT):
            assert signal.getsignal(signal.SIGINT) is before

    thread = threading.Thread(target=work)
    thread.start()
    thread.join()


@pytest.mark.parametrize("number", [signal.SIGUSR2, signal.SIGTERM])
@pytest.mark.parametrize("shielded", [True, False])
def test_a_shielded_child_outlives_the_signals_of_a_scheduler(number, shielded):
    command = [sys.executable, "-c", CHILD]
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "text": True}
    if shielded:
        with children_shielded():
            child = subprocess.Popen(command, **pipes)
    else:
        child = subprocess.Popen(command, **pipes)
    assert child.stdout.readline() == "ready\n"
    child.send_signal(number)
    said, _ = child.communicate("\n", timeout=60)
    assert (said, child.returncode) == (("done\n", 0) if shielded else ("", -number))


def test_what_comes_while_a_child_is_started_is_not_lost():
    stop = StopRequest()
    with stop.catching(signal.SIGUSR2):
        with children_shielded():
            send(signal.SIGUSR2)
        deadline = time.monotonic() + 60
        while not stop.requested:  # another thread of this process may take it meanwhile
            assert time.monotonic() < deadline
    assert stop.reason == "SIGUSR2"


OBEDIENT = """
import os, signal, sys, time
from autocast.signals import children_shielded, obey_parent_only
with children_shielded():
    child = os.fork()
    if child == 0:
        obey_parent_only()
        while True:
            time.sleep(0.01)
print(child, flush=True)
sys.stdin.readline()
assert os.waitpid(child, os.WNOHANG) == (0, 0), "a stranger ended it"
os.kill(child, signal.SIGTERM)
os.waitpid(child, 0)
print("obeyed", flush=True)
"""


def is_pending(pid, number):
    status = Path(f"/proc/{pid}/status").read_text()
    pending = int(status.partition("ShdPnd:")[2].split()[0], 16)
    return bool(pending >> (number - 1) & 1)


def test_an_obedient_child_ends_only_when_its_parent_says_so():
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "text": True}
    parent = subprocess.Popen([sys.executable, "-c", OBEDIENT], **pipes)
    child = int(parent.stdout.readline())
    os.kill(child, signal.SIGTERM)
    os.kill(child, signal.SIGUSR2)
    deadline = time.monotonic() + 60
    while is_pending(child, signal.SIGTERM):  # two of a kind that wait would become one
        assert time.monotonic() < deadline
    said, _ = parent.communicate("\n", timeout=60)
    assert said == "obeyed\n"


def test_the_error_survives_pickling_and_tells_the_step():
    error = pickle.loads(pickle.dumps(StoppedError("SIGTERM", epoch=2, step=1234)))
    assert (error.reason, error.epoch, error.step) == ("SIGTERM", 2, 1234)
    assert str(error) == "stopped by SIGTERM after step 1,234"
