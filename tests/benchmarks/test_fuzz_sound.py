"""Mutated and cut sound files in short: each is read, or refused in one line, and what lacks sound has a note."""

import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import pytest

from benchmarks import fuzz_cut, fuzz_sound
from benchmarks.fuzz import subcommands
from benchmarks.fuzz_files import SEEDS, seed_bytes
from benchmarks.fuzz_process import count, run_cases
from soundscene.audio.files import AudioFile
from soundscene.errors import SceneError
from soundscene.recipe import AudioRecipe

UNSEEN = 7  # of seeds: the long runs have 0


@pytest.mark.budget(15)
@pytest.mark.filterwarnings("ignore::RuntimeWarning")
@pytest.mark.parametrize("make", [fuzz_sound.reader, fuzz_cut.reader], ids=["sound", "cut"])
def test_no_mutated_sound_file_does_harm(make: Callable[[int], Callable[[int], str]]) -> None:
    read, ends = make(UNSEEN), Counter[str]()
    for case in range(4 * len(SEEDS)):
        started = time.process_time()
        try:
            text = read(case)
        except SceneError as error:
            text = str(error)
            ends["refused"] += 1
        else:
            ends["read"] += 1
        assert not text.startswith(fuzz_cut.SILENT), case
        assert "\n" not in text
        assert fuzz_sound.UNFORESEEN not in text
        assert time.process_time() - started < fuzz_sound.LIMIT_S
    assert min(ends["refused"], ends["read"]) > 10, "mutants that all are refused would show nothing of those that are not"


@pytest.mark.budget(15)
def test_the_seeds_themselves_are_read_without_a_note(tmp_path: Path) -> None:
    for name, (suffix, *_) in SEEDS.items():
        path = tmp_path / f"{name}.{suffix}"
        path.write_bytes(seed_bytes(name))
        file = AudioFile(path, AudioRecipe())
        for _ in file.blocks():
            pass
        assert file.duration_s == pytest.approx(4.0, abs=0.1), name
        assert not [note for note in file.notes if "stay empty" not in note], name


def test_what_a_case_ends_with_is_told() -> None:
    outcomes = list(run_cases("tests.support.misbehave:factory", ("fine",), [0, 1, 2, 3, 4, 0], 1.0))
    assert [outcome.kind for outcome in outcomes] == ["fine", "refused", "foreign", "crash", "hang", "fine"]
    assert [outcome.detail for outcome in outcomes[:2]] == ["fine", "no sound"]
    assert outcomes[2].detail.startswith("KeyError: 'fine' (misbehave.py:")
    assert outcomes[3].detail == "exit code 7"
    assert count(outcomes)["fine"] == 2


def test_the_subcommands_are_there() -> None:
    assert {"sound", "cut"} <= set(subcommands())
