"""Rows in a folder: shards, restarts, other models, and one run at a time."""

import os
import shutil
from collections.abc import Iterator
from itertools import chain
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from soundscene.batch.folder import opened
from soundscene.batch.rows import FORMS, ShardFormat, read_paths
from soundscene.batch.run import BatchStats, run_batch
from soundscene.cli.progress import batch_line, batch_summary
from soundscene.errors import SceneError
from tests.support.shards import SCENES, Answering, config

PATHS = [f"{n}{'bad' if n == 3 else ''}.wav" for n in range(10)]


def run(
    out: Path, paths: list[str] | Iterator[str], form: ShardFormat = "csv", size: int = 4
) -> tuple[BatchStats, list[str]]:
    """What a run has done, and the paths it listened to."""
    predictor = Answering()
    tally = run_batch(predictor, config(form), paths, out, size)
    return tally, predictor.asked


def shards(out: Path, form: ShardFormat = "csv") -> dict[str, list[str]]:
    return {path.name: list(read_paths(path.read_bytes(), path.name, form, SCENES)) for path in sorted(out.glob("part-*"))}


@pytest.mark.parametrize("form", FORMS)
def test_rows_are_cut_into_shards_in_order(tmp_path: Path, form: ShardFormat) -> None:
    tally, asked = run(tmp_path / "new" / "out", PATHS, form)
    assert asked == PATHS
    assert (tally.rows, tally.broken, tally.skipped, tally.shards) == (10, 1, 0, 3)
    found = shards(tmp_path / "new" / "out", form)
    assert found == {
        f"part-00000.{form}": PATHS[:4],
        f"part-00001.{form}": PATHS[4:8],
        f"part-00002.{form}": PATHS[8:],
    }
    assert {p.name for p in (tmp_path / "new" / "out").iterdir()} == {*found, "run.json"}


def test_a_restart_asks_only_for_what_has_no_row_whatever_the_order(tmp_path: Path) -> None:
    run(tmp_path, PATHS[:6])
    before = {path.name: path.read_bytes() for path in tmp_path.glob("part-*")}
    tally, asked = run(tmp_path, PATHS[::-1])
    assert asked == PATHS[:5:-1]
    assert (tally.rows, tally.skipped, tally.shards) == (4, 6, 1)
    assert all((tmp_path / name).read_bytes() == content for name, content in before.items())
    assert sorted(chain(*shards(tmp_path).values())) == PATHS
    assert run(tmp_path, PATHS)[1] == []


@given(st.lists(st.lists(st.sampled_from(PATHS)), min_size=1, max_size=5), st.integers(1, 5))
@settings(deadline=None, max_examples=30)
def test_no_list_and_no_order_gives_a_path_two_rows(
    tmp_path_factory: pytest.TempPathFactory, lists: list[list[str]], size: int
) -> None:
    out = tmp_path_factory.mktemp("any")
    for paths in lists:
        run(out, paths, size=size)
    assert sorted(chain(*shards(out).values())) == sorted(set(chain(*lists)))
    assert all(len(part) <= size for part in shards(out).values())


def test_whatever_ends_a_run_its_rows_are_written(tmp_path: Path) -> None:
    def cut(error: type[BaseException]) -> Iterator[str]:
        yield from PATHS[:6]
        raise error("enough")

    for number, error in enumerate((KeyboardInterrupt, SceneError)):
        out = tmp_path / str(number)
        with pytest.raises(error):
            run(out, cut(error))
        assert shards(out) == {"part-00000.csv": PATHS[:4], "part-00001.csv": PATHS[4:6]}
        assert not (out / "lock").exists()


def test_a_shard_ends_a_minute_after_its_first_row(tmp_path: Path) -> None:
    times = iter([0.0, *(t for n in range(10) for t in (25.0 * n,) * 2), 300.0])
    run_batch(Answering(), config(), PATHS, tmp_path, 1000, clock=lambda: next(times))
    assert [len(part) for part in shards(tmp_path).values()] == [4, 4, 2]  # at 75 s, 175 s, the end


@pytest.mark.parametrize(
    ("other", "message"),
    [
        (config(model="1234"), "were computed with model 00ff, these would be with 1234; choose another folder"),
        (config("parquet"), "were computed with --format csv, these would be with parquet; choose"),
    ],
)
def test_rows_made_in_another_way_are_refused(tmp_path: Path, other: object, message: str) -> None:
    run(tmp_path, PATHS)
    before = sorted(tmp_path.iterdir())
    with pytest.raises(SceneError, match=message), opened(tmp_path, other):  # type: ignore[arg-type]
        pass
    assert sorted(tmp_path.iterdir()) == before


def test_shards_without_run_json_and_a_damaged_one_are_refused(tmp_path: Path) -> None:
    run(tmp_path, PATHS)
    (tmp_path / "run.json").write_text("{}")
    with pytest.raises(SceneError, match=r"run\.json: damaged, or not of soundscene"):
        run(tmp_path, PATHS)
    (tmp_path / "run.json").unlink()
    with pytest.raises(SceneError, match=r"holds part-00000\.csv, but no run\.json"):
        run(tmp_path, PATHS)


def test_what_a_kill_leaves_is_removed_and_what_is_not_ours_stays(tmp_path: Path) -> None:
    run(tmp_path, PATHS[:4])
    (tmp_path / "part-00001.csv.4711.tmp").write_text("path,sce")
    (tmp_path / "notes.tmp").write_text("mine")
    run(tmp_path, PATHS[:5])
    assert {p.name for p in tmp_path.iterdir()} == {"part-00000.csv", "part-00001.csv", "run.json", "notes.tmp"}


def test_a_folder_that_cannot_be_made_is_one_line(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(SceneError, match=r"file: cannot be written \(File exists\)"), opened(tmp_path / "file", config()):
        pass


def test_a_full_disk_loses_no_finished_shard(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    real, calls = os.fsync, list[int]()

    def full(number: int) -> None:
        calls.append(1)
        if len(calls) == 3:  # run.json, the first shard, the second
            raise OSError(28, "No space left on device")
        real(number)

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(SceneError, match=r"part-00001\.csv: cannot be written \(No space left on device\)"):
        run(tmp_path, PATHS)
    assert shards(tmp_path) == {"part-00000.csv": PATHS[:4]}
    assert run(tmp_path, PATHS)[1] == PATHS[4:]


# --- progress ---------------------------------------------------------------------------------------------------------


def test_progress_says_what_is_left_at_the_rate_of_this_run() -> None:
    tally = BatchStats(rows=500, broken=2, skipped=1000, shards=1, seconds=50.0)
    assert batch_line(tally, 3500) == "1,500 of 3,500 recordings, 2 unreadable, 10 per second, 0:03:20 left"
    assert batch_line(tally, None) == "1,500 recordings, 2 unreadable, 10 per second"
    assert batch_line(BatchStats(), 10) == "0 of 10 recordings"
    assert batch_summary(tally, "out") == "out: 500 rows, 2 unreadable, 1 shard, 50.0 s; 1,000 were done before"


@pytest.mark.parametrize(("anew", "message"), [(False, "cannot be read"), (True, r"its run\.json is gone, was the folder")])
def test_a_folder_removed_on_the_way_is_one_line(tmp_path: Path, anew: bool, message: str) -> None:
    """Otherwise the run would end well, with its next shards in a folder that nothing says how they were computed."""
    out = tmp_path / "rows"
    with opened(out, config()) as folder:
        shutil.rmtree(out)
        if anew:
            out.mkdir()
        with pytest.raises(SceneError, match=message):
            folder.write([])
