"""The store on disk: what it gives back, what it survives, what it computes again and what not."""

import json
import os
from functools import partial
from pathlib import Path

import numpy as np
import pytest
from threadpoolctl import threadpool_info, threadpool_limits

from soundscene.data.corpus import read_corpus
from soundscene.data.store import Extract, FeatureStore, Representation, _identity
from soundscene.errors import AudioError, ManifestError, TrainingError
from soundscene.systems.neural import images
from soundscene.types import Recording
from tests.support.tiny import TINY, recording, write


def made(folder: Path, n: int = 4) -> tuple[Recording, ...]:
    return tuple(
        Recording(write(folder / f"{i}.wav", recording("rain", 4.5 + i, i)), "rain", f"g{i}", line=i + 2) for i in range(n)
    )


def counting(log: Path, entry: Recording) -> Extract:
    """A representation that says which recordings it was asked for, and refuses those with "broken" in their name."""
    with log.open("a") as file:
        file.write(f"{entry.path.name} {os.getpid()}\n")
    if "broken" in entry.path.name:
        raise AudioError(f"{entry.path.name}: cannot be decoded")
    if "murder" in entry.path.name:
        os._exit(9)
    if "interrupt" in entry.path.name:
        raise KeyboardInterrupt
    n = 1 + int(entry.path.stem) % 3
    values = np.full((n, 2, 3), float(entry.path.stem), np.float32)
    flags = np.zeros(n, bool)
    return Extract(values, np.arange(n) * 2.0, flags, ~flags, f"hash {entry.path.stem}", 2.0 * n, ("a note",))


def touched(folder: Path, names: list[str]) -> list[Recording]:
    for name in names:
        (folder / name).write_text(name)
    return [Recording(folder / name, "scene", name) for name in names]


def test_images_come_back_as_read_corpus_makes_them_to_float16(tmp_path: Path) -> None:
    recordings = made(tmp_path)
    direct = read_corpus(recordings, TINY)
    store = FeatureStore(tmp_path / "store", images(TINY))
    assert store.build(recordings) == {}
    back = store.load(recordings)
    np.testing.assert_array_equal(back.features, direct.features.astype(np.float16).astype(np.float32))
    for name in ("recording", "start_s", "silent", "regular"):
        np.testing.assert_array_equal(getattr(back, name), getattr(direct, name))
    assert back.features.dtype == np.float32
    assert (back.recordings, back.content_hash, back.duration_s, back.notes) == (
        recordings,
        direct.content_hash,
        direct.duration_s,
        direct.notes,
    )
    some = store.load([recordings[2], recordings[0]])
    np.testing.assert_array_equal(some.features, back.take([recordings[2], recordings[0]]).features)
    assert store.content_hashes(recordings) == {r.path: h for r, h in zip(recordings, direct.content_hash, strict=True)}


def test_only_what_is_missing_or_changed_is_computed(tmp_path: Path) -> None:
    log = tmp_path / "log"
    store = FeatureStore(tmp_path / "store", Representation("numbers", "1", partial(counting, log)))
    first = touched(tmp_path, ["1.wav", "2.wav"])
    steps: list[tuple[int, int]] = []
    assert store.build(first, progress=lambda done, n: steps.append((done, n))) == {}
    assert steps == [(1, 2), (2, 2)]
    both = [*first, *touched(tmp_path, ["3.wav"])]
    assert FeatureStore(tmp_path / "store", store.representation).build(both) == {}
    (tmp_path / "1.wav").write_text("another sound")
    with pytest.raises(ManifestError, match=r"1\.wav: not in the store .*, or changed since; build it again"):
        store.load(both)
    assert store.build(both) == {}
    assert [line.split()[0] for line in log.read_text().splitlines()] == ["1.wav", "2.wav", "3.wav", "1.wav"]
    assert store.load(both).features[:, 0, 0].tolist() == [1, 1, 2, 2, 2, 3]
    other = FeatureStore(tmp_path / "store", Representation("numbers", "2", partial(counting, log)))
    assert other.folder != store.folder


@pytest.mark.parametrize("keep", ["half a line", "half the values"])
def test_a_store_killed_anywhere_resumes(tmp_path: Path, keep: str) -> None:
    log = tmp_path / "log"
    recordings = touched(tmp_path, ["1.wav", "2.wav", "3.wav"])
    store = FeatureStore(tmp_path / "store", Representation("numbers", "1", partial(counting, log)))
    store.build(recordings)
    values, journal = store.folder / "values.bin", store.folder / "journal.jsonl"
    lines = journal.read_bytes().splitlines(keepends=True)
    if keep == "half a line":
        journal.write_bytes(lines[0] + lines[1][:30])
    else:
        values.write_bytes(values.read_bytes()[: json.loads(lines[1])["first"] + 5])
    again = FeatureStore(tmp_path / "store", store.representation)
    again.build(recordings)
    assert again.load(recordings).features[:, 0, 0].tolist() == [1, 1, 2, 2, 2, 3]
    assert [line.split()[0] for line in log.read_text().splitlines()] == ["1.wav", "2.wav", "3.wav", "2.wav", "3.wav"]
    assert len(journal.read_bytes().splitlines()) == 3


def test_one_broken_file_does_not_end_the_others_and_the_rest_is_kept(tmp_path: Path) -> None:
    log = tmp_path / "log"
    store = FeatureStore(tmp_path / "store", Representation("numbers", "1", partial(counting, log)))
    recordings = touched(tmp_path, ["1.wav", "broken.wav", "2.wav"])
    assert store.build(recordings) == {tmp_path / "broken.wav": "broken.wav: cannot be decoded"}
    assert store.load([recordings[0], recordings[2]]).features.shape == (5, 2, 3)
    assert set(store.content_hashes(recordings)) == {recordings[0].path, recordings[2].path}


@pytest.mark.budget(15)  # the processes import this test module, and with it pytest and its plugins
def test_processes_share_the_work_and_give_the_same_store(tmp_path: Path) -> None:
    log = tmp_path / "log"
    representation = Representation("numbers", "1", partial(counting, log))
    recordings = touched(tmp_path, [f"{i}.wav" for i in range(1, 12)])
    alone, together = FeatureStore(tmp_path / "one", representation), FeatureStore(tmp_path / "two", representation)
    alone.build(recordings)
    log.unlink()
    together.build(recordings, workers=2)
    assert {line.split()[1] for line in log.read_text().splitlines()} != {str(os.getpid())}
    for name in ("values.bin", "journal.jsonl"):
        assert (alone.folder / name).read_bytes() == (together.folder / name).read_bytes()


def threads_of(entry: Recording) -> Extract:
    """A representation whose value is the number of threads of matrix products."""
    n = max(library["num_threads"] for library in threadpool_info() if library["user_api"] == "blas")
    no = np.zeros(1, bool)
    return Extract(np.full((1, 1), n, np.float32), np.zeros(1), no, ~no, "hash", 2.0, ())


@pytest.mark.skipif((os.cpu_count() or 1) < 2, reason="one core has one thread")
def test_one_worker_computes_with_one_thread_as_several_do(tmp_path: Path) -> None:
    """Sums of products round otherwise with more threads, so a store would depend on the number of workers."""
    recordings, store = touched(tmp_path, ["1.wav"]), FeatureStore(tmp_path / "store", Representation("t", "1", threads_of))
    with threadpool_limits(2):
        assert threads_of(recordings[0]).features.item() == 2
        store.build(recordings)
    assert store.load(recordings).features.item() == 1


@pytest.mark.kill
@pytest.mark.parametrize("workers", [1, 2])
def test_a_recording_that_kills_its_process_costs_itself(tmp_path: Path, workers: int) -> None:
    representation = Representation("numbers", "1", partial(counting, tmp_path / "log"))
    recordings = touched(tmp_path, ["1.wav", "murder.wav", "2.wav", "3.wav", "4.wav"])
    store = FeatureStore(tmp_path / "store", representation)
    if workers == 1:  # this process would be killed: as if it had been
        store.build(recordings[:1])
        (store.folder / "in-work").write_text(_identity(recordings[1]))
    reasons = store.build(recordings, workers)
    assert list(reasons) == [recordings[1].path]
    assert "murder.wav: ends the process that reads it; is it damaged" in reasons[recordings[1].path]
    assert len(store.load([r for r in recordings if r.path.name != "murder.wav"]).recordings) == 4
    assert not (store.folder / "in-work").exists()


def test_an_interruption_leaves_no_suspect(tmp_path: Path) -> None:
    """The recording that was being read is computed by the next run, not tried in a process of its own as after a death."""
    recordings = touched(tmp_path, ["0.wav", "interrupt.wav", "2.wav"])
    store = FeatureStore(tmp_path / "store", Representation("n", "r", partial(counting, tmp_path / "log")))
    with pytest.raises(KeyboardInterrupt):
        store.build(recordings, workers=1)
    assert not (store.folder / "in-work").exists()
    assert list(store.content_hashes(recordings)) == [recordings[0].path], "what was read before is kept"


def test_a_folder_that_cannot_be_written_is_one_line(tmp_path: Path) -> None:
    (tmp_path / "store").write_text("a file")
    with pytest.raises(TrainingError, match=r"store.*: cannot be written"):
        FeatureStore(tmp_path / "store", images(TINY)).build([])


def test_nothing_is_nothing(tmp_path: Path) -> None:
    store = FeatureStore(tmp_path, images(TINY))
    assert store.build([]) == {}
    assert len(store.load([]).features) == 0
