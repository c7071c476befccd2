"""Reading ahead gives the same blocks, in bounded memory, and leaves no thread behind, however its reader goes away."""

import gc
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Generator
from itertools import count, islice
from pathlib import Path

import numpy as np
import pytest
import soundfile
from hypothesis import given
from hypothesis import strategies as st
from threadpoolctl import threadpool_info, threadpool_limits

from soundscene.audio.files import AudioFile
from soundscene.errors import AudioError
from soundscene.recipe import Recipe
from soundscene.threads import in_order, one_blas_thread, read_ahead

PATIENCE_S = 20.0  # within which another thread must have done its part, on the busiest machine


def threads(name: str) -> list[threading.Thread]:
    return [thread for thread in threading.enumerate() if thread.name.startswith(name)]


class Source:
    """Blocks 0, 1, 2, ...; tells how many it has made, and whether it was closed."""

    def __init__(self, fails_at: int = -1) -> None:
        self.made = 0
        self.closed = False
        self.more = threading.Condition()
        self.fails_at = fails_at

    def blocks(self, n: int = 10**9) -> Generator[int, None, None]:
        try:
            for number in range(n):
                if number == self.fails_at:
                    raise AudioError(f"block {number} is damaged")
                with self.more:
                    self.made += 1
                    self.more.notify_all()
                yield number
        finally:
            self.closed = True

    def wait_for(self, n: int) -> None:
        with self.more:
            assert self.more.wait_for(lambda: self.made >= n, PATIENCE_S), f"only {self.made} of {n} blocks"


# --- one source -------------------------------------------------------------------------------------------------------


@given(n=st.integers(0, 12), depth=st.integers(1, 5))
def test_the_blocks_are_those_of_the_source(n: int, depth: int) -> None:
    source = Source()
    assert list(read_ahead(source.blocks(n), depth)) == list(range(n))
    assert source.closed
    assert not threads("read ahead")


def test_a_block_that_looks_like_nothing_is_a_block() -> None:
    assert list(read_ahead(iter([None, 0, None]))) == [None, 0, None]


@pytest.mark.parametrize("depth", [1, 3])
def test_the_source_is_so_far_ahead_and_no_further(depth: int) -> None:
    source = Source()
    reader = read_ahead(source.blocks(), depth)
    assert next(reader) == 0
    source.wait_for(1 + depth)  # while the reader has block 0 in hand
    time.sleep(0.05)
    assert source.made == 1 + depth
    assert list(islice(reader, 10)) == list(range(1, 11))
    source.wait_for(11 + depth)
    time.sleep(0.05)
    assert source.made == 11 + depth
    reader.close()


def test_an_error_comes_where_its_block_would_have_been() -> None:
    source = Source(fails_at=4)
    reader = read_ahead(source.blocks(), 3)
    assert list(islice(reader, 4)) == [0, 1, 2, 3]
    with pytest.raises(AudioError, match="block 4 is damaged"):
        next(reader)
    assert source.closed
    assert not threads("read ahead")


def test_closing_ends_the_thread_and_closes_the_source() -> None:
    source = Source()
    blocks = source.blocks()  # held here too, so that being dropped is not what closes it
    reader = read_ahead(blocks)
    assert next(reader) == 0
    assert len(threads("read ahead")) == 1
    reader.close()
    assert source.closed
    assert not threads("read ahead")
    made = source.made
    time.sleep(0.05)
    assert source.made == made


def test_dropping_it_does_too() -> None:
    source = Source()
    reader = read_ahead(source.blocks())
    assert next(reader) == 0
    del reader
    gc.collect()
    assert source.closed
    assert not threads("read ahead")


def test_an_error_of_the_reader_ends_it_too() -> None:
    source = Source()
    with pytest.raises(ZeroDivisionError):
        [1 / (block - 2) for block in read_ahead(source.blocks())]
    assert source.closed
    assert not threads("read ahead")


def test_what_is_never_read_starts_no_thread() -> None:
    source = Source()
    reader = read_ahead(source.blocks())
    assert not threads("read ahead")
    assert source.made == 0
    reader.close()


def test_a_file_is_the_same_read_ahead(tmp_path: Path) -> None:
    samples = (0.1 * np.random.default_rng(0).standard_normal((44100 * 5, 2))).astype(np.float32)
    soundfile.write(tmp_path / "a.flac", samples, 44100)
    ahead, plain = (AudioFile(tmp_path / "a.flac", Recipe().audio) for _ in range(2))
    for mine, other in zip(read_ahead(ahead.blocks()), plain.blocks(), strict=True):
        np.testing.assert_array_equal(mine, other)
    assert (ahead.content_hash, ahead.duration_s, ahead.notes) == (plain.content_hash, 5.0, ())


ENDLESS = """
import time
from itertools import count
from soundscene.threads import in_order, read_ahead

def blocks():
    for number in count():
        time.sleep(0.01)
        yield number

source, items = read_ahead(blocks()), in_order(abs, blocks(), 2)
print(next(source), next(items), flush=True)
"""


def test_ctrl_c_ends_a_program_that_reads_ahead() -> None:
    heard = (
        "import signal; signal.signal(signal.SIGINT, signal.default_int_handler)\n"  # a shell's background ignores Ctrl-C
    )
    words = [sys.executable, "-c", heard + ENDLESS + "for _ in zip(source, items): pass"]
    with subprocess.Popen(words, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as program:
        assert program.stdout
        assert program.stdout.readline() == "0 0\n"
        program.send_signal(signal.SIGINT)
        try:
            _, told = program.communicate(timeout=PATIENCE_S)
        finally:
            program.kill()  # or leaving the block would wait for it for ever
    assert program.returncode == -signal.SIGINT
    assert told.splitlines()[-1] == "KeyboardInterrupt"


def test_a_program_can_end_with_readers_in_hand() -> None:
    words = [sys.executable, "-c", ENDLESS]
    done = subprocess.run(words, capture_output=True, text=True, timeout=3 * PATIENCE_S, check=False)
    assert (done.returncode, done.stdout, done.stderr) == (0, "0 0\n", "")


# --- many items -------------------------------------------------------------------------------------------------------


def test_results_come_in_the_order_of_the_items_whoever_is_first() -> None:
    second_done = threading.Event()

    def work(item: int) -> int:
        if item == 0:
            assert second_done.wait(PATIENCE_S), "the second worker never came"
        if item == 1:
            second_done.set()
        return item * item

    assert list(in_order(work, range(20), 2)) == [item * item for item in range(20)]
    assert not threads("in order")


@pytest.mark.parametrize("workers", [1, 3])
def test_few_items_are_taken_at_a_time(workers: int) -> None:
    source = Source()
    results = in_order(abs, source.blocks(), workers)
    for given_out in range(1, 30):
        next(results)
        assert source.made <= given_out + 4 * workers
    results.close()
    assert not threads("in order")


def test_an_error_comes_in_its_turn_and_ends_the_rest() -> None:
    results = in_order(lambda item: 1 // (3 - item), count(), 2)
    assert list(islice(results, 3)) == [0, 0, 1]
    with pytest.raises(ZeroDivisionError):
        next(results)
    assert list(results) == []
    assert not threads("in order")


def test_each_thread_begins_once_and_work_stops() -> None:
    begun: list[str] = []
    stop = threading.Event()
    together = threading.Barrier(3, timeout=PATIENCE_S)

    def work(item: int) -> int:
        if item < 3:
            together.wait()  # so that each of the three has one
        elif item > 3:
            assert stop.wait(PATIENCE_S), "nobody told it to stop"
        return item

    results = in_order(work, count(), 3, lambda: begun.append(threading.current_thread().name), stop)
    assert list(islice(results, 4)) == [0, 1, 2, 3]
    assert len(set(begun)) == len(begun) == 3
    assert not stop.is_set()
    results.close()
    assert stop.is_set()


def test_no_workers_do_nothing() -> None:
    with pytest.raises(ValueError, match="0 workers, expected at least 1"):
        next(in_order(abs, [1], 0))


# --- BLAS -------------------------------------------------------------------------------------------------------------


def blas_threads() -> set[int]:
    return {library["num_threads"] for library in threadpool_info() if library["user_api"] == "blas"}


def test_products_take_one_thread_until_the_last_reader_is_done() -> None:
    with threadpool_limits(2, "blas"):
        assert blas_threads() == {2}
        one, other = in_order(abs, count(), 1), in_order(abs, count(), 1)
        assert blas_threads() == {2}
        next(one)
        next(other)
        one.close()
        assert blas_threads() == {1}
        with one_blas_thread():
            other.close()
            assert blas_threads() == {1}
        assert blas_threads() == {2}
        failing = in_order(lambda item: 1 // item, [0], 1)
        with pytest.raises(ZeroDivisionError):
            next(failing)
        assert blas_threads() == {2}
