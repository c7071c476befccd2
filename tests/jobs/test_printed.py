"""What a command prints leaves it once, whatever ends the process that prints, and a signal always ends it."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import IO, Any

import pytest

N_LINES = 400
BEGINNING = """
import os, signal, sys, threading, time
from soundscene.audio import trial
from soundscene.cli import signals
from soundscene.cli.crashes import survive

signal.signal(signal.SIGINT, signal.default_int_handler)  # tests in the background of a shell inherit it ignored
again = []
trial.try_all_files_first = lambda: again.append(True)
signals.install()


def crash(after_s=0.0):
    time.sleep(after_s)
    os.kill(os.getpid(), signal.SIGSEGV)


def command():
    try:
        body()
    except KeyboardInterrupt:
        os._exit(signals.exit_code())
    sys.stdout.flush()
    os._exit(0)


"""
END = """

survive(command, ["predict"])
"""


@pytest.fixture
def program(tmp_path: Path) -> Any:
    def write(body: str) -> list[str]:
        path = tmp_path / "program.py"
        path.write_text(BEGINNING + body + END)
        return [sys.executable, str(path)]

    return write


def test_a_crash_at_any_moment_loses_no_line_and_repeats_none(program: Any) -> None:
    """Between the write of a line and the note that it was written, there must be no moment at which a crash counts."""
    words = program(
        "def body():\n"
        "    if not again:\n"
        "        threading.Thread(target=crash, args=(float(sys.argv[1]) / 1000,)).start()\n"
        f"    for number in range({N_LINES}):\n"
        "        print(number, flush=True)\n"
        "    if not again:\n"
        "        time.sleep(60)\n"
    )
    for after_ms in (0.5, 1, 2, 3):
        done = subprocess.run([*words, str(after_ms)], capture_output=True, text=True, timeout=60, check=False)
        assert done.stdout.split() == [str(number) for number in range(N_LINES)]
        assert (done.returncode, done.stderr.count("a decoder crashed (SIGSEGV)")) == (0, 1), done.stderr


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_while_lines_are_printed_ends_the_command_and_repeats_no_line(program: Any, number: signal.Signals) -> None:
    words = program("def body():\n    for n in range(10**9):\n        print(n, flush=True)\n")
    for wait_ms in (0, 3, 7, 11):
        process = subprocess.Popen(words, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL)
        begin(process.stdout)
        time.sleep(wait_ms / 1000)
        process.send_signal(number)
        out = process.communicate(timeout=20)[0].split(b"\n")
        assert process.returncode == 128 + number
        numbers = [int(line) for line in out if line]  # the last one perhaps without its end
        assert numbers == list(range(1, len(numbers) + 1))


def test_a_signal_ends_the_command_that_was_started_again(program: Any) -> None:
    words = program("def body():\n    if not again:\n        crash()\n    print(0, flush=True)\n    time.sleep(60)\n")
    process = subprocess.Popen(words, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL)
    begin(process.stdout)
    process.send_signal(signal.SIGTERM)
    process.communicate(timeout=20)
    assert process.returncode == 128 + signal.SIGTERM


@pytest.mark.parametrize(("ended_by", "number"), [("SIGKILL", signal.SIGKILL), ("SIGSEGV", signal.SIGTERM)])
def test_a_command_that_died_behind_a_slow_reader_can_be_ended(program: Any, ended_by: str, number: signal.Signals) -> None:
    words = program(
        "def end():\n"
        "    before = -1\n"
        "    while before != count[0]:  # until the reader holds the command up\n"
        "        before = count[0]\n"
        "        time.sleep(0.5)\n"
        f"    os.kill(os.getpid(), signal.{ended_by})\n\n\n"
        "count = [0]\n\n\n"
        "def body():\n"
        "    for n in range(10**9):\n"
        "        print(n, flush=True)\n"
        "        count[0] = n\n"
        "        if n == 0:\n"
        "            threading.Thread(target=end).start()\n"
    )
    process = subprocess.Popen(words, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL)
    begin(process.stdout)
    time.sleep(3)
    if number != signal.SIGKILL:  # that one has ended both
        assert process.poll() is None
        process.send_signal(number)
    assert process.wait(timeout=20) == -number
    process.communicate()


def test_more_than_a_buffer_that_a_signal_broke_swallows_nothing_behind_it(program: Any) -> None:
    words = program(
        "def body():\n"
        "    print('begin', flush=True)\n"
        "    try:\n"
        "        sys.stdout.buffer.write(b'x' * 500_000)\n"
        "    except KeyboardInterrupt:\n"
        "        sys.stdout.buffer.write(b'y' * 20_000 + b'end')\n"
    )
    process = subprocess.Popen(words, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL)
    begin(process.stdout)
    time.sleep(0.3)  # the pipe is full
    process.send_signal(signal.SIGINT)
    time.sleep(0.3)
    out = process.communicate(timeout=20)[0].decode()
    assert process.returncode == 0
    assert out.strip("x") == "y" * 20_000 + "end"


def test_a_process_that_a_library_forks_prints_too(program: Any) -> None:
    words = program(
        "def body():\n"
        "    if os.fork() == 0:\n"
        "        print('of the child', flush=True)\n"
        "        os._exit(0)\n"
        "    os.wait()\n"
        "    print('of the command')\n"
    )
    done = subprocess.run(words, capture_output=True, text=True, timeout=60, check=False)
    assert done.stdout.splitlines() == ["of the child", "of the command"], done.stderr


def test_an_output_that_does_not_block_is_written_whole(program: Any) -> None:
    words = program("def body():\n    for n in range(20_000):\n        print(n, flush=True)\n")
    reader, writer = os.pipe()
    os.set_blocking(writer, False)
    process = subprocess.Popen(words, stdout=writer, stderr=subprocess.DEVNULL)
    os.close(writer)
    time.sleep(1)  # the pipe is full
    with os.fdopen(reader) as out:
        assert [int(line) for line in out] == list(range(20_000))
    assert process.wait(timeout=20) == 0


def begin(out: IO[bytes] | None) -> None:
    """Wait until the first line is there, and take nothing behind it."""
    assert out is not None
    while os.read(out.fileno(), 1) != b"\n":
        pass
