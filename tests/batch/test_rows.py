"""Rows and shards: the same values in all three forms, and nothing half-written under a final name."""

import csv
import json
from pathlib import Path
from typing import Any

import pyarrow.parquet
import pytest

from soundscene.batch import sources as sources_module
from soundscene.batch.rows import COLUMNS, FORMS, Row, ShardFormat, columns, document, flat, read_paths, row_key, shard_bytes
from soundscene.batch.sources import PathSet
from soundscene.errors import AudioError, SceneError
from soundscene.jobs.storage import Storage
from tests.support.shards import SCENES, answer

NAMES = ("a.wav", "two\nlines.wav", 'quote",.wav', "caf\udce9.wav", "gr\u00fcn.wav", "cr\r.wav", "bad.wav")
ROWS = [
    *(
        Row.of(name, answer(name, seed, ("low rate", "silence") if seed == 1 else ()))
        for seed, name in enumerate(NAMES[:-1])
    ),
    Row.of("bad.wav", AudioError("bad.wav: is empty: 0 bytes")),
]


def shard(folder: Path, form: ShardFormat) -> Path:
    path = folder / f"part-00000.{form}"
    path.write_bytes(shard_bytes(ROWS, SCENES, form))
    return path


def values(path: Path) -> list[dict[str, Any]]:
    """Rows of a shard as a user would read it: nothing is None."""
    names = columns(SCENES)
    if path.suffix == ".parquet":
        return pyarrow.parquet.read_table(path).to_pylist()
    if path.suffix == ".csv":
        with path.open(encoding="utf-8", newline="") as file:
            rows = [{k: v.replace("\\r", "\r") for k, v in row.items()} for row in csv.DictReader(file)]  # shown escaped
        numbers = set(names) - {"path", "scene", "error", "notes"}
        return [{k: None if v == "" else float(v) if k in numbers else v for k, v in row.items()} for row in rows]
    found = []
    for line in path.read_text(encoding="ascii").splitlines():
        said = json.loads(line)
        said.pop("unfamiliarity_threshold", None)  # of the model, not of the recording
        said["path"] = said["path"].encode("utf-8", "backslashreplace").decode()
        posterior = dict(zip(names[len(COLUMNS) :], said.pop("posterior", dict.fromkeys(SCENES)).values(), strict=True))
        found.append(dict.fromkeys(names) | said | posterior | {"notes": "; ".join(said.get("notes", ())) or None})
    return found


def test_the_three_forms_hold_the_same_bits(tmp_path: Path) -> None:
    found = []
    for form in FORMS:
        (tmp_path / form).mkdir()
        found.append(values(shard(tmp_path / form, form)))
    assert found[0] == found[1] == found[2]
    names = [*COLUMNS, "p(error)", "of\nfice", "rain, soft"]
    assert list(found[0][0]) == list(columns(SCENES)) == names
    first = answer("a.wav", 0)
    assert [found[0][0][name] for name in names[8:]] == first.posterior.tolist()  # bit for bit
    assert (found[0][0]["scene"], found[0][0]["probability"]) == (first.scene, first.probability)
    assert found[0][1]["notes"] == "low rate; silence"
    assert found[0][1]["duration_s"] == 2.143  # 2 + 1/7 s
    assert found[0][3]["path"] == "caf\\udce9.wav"
    assert found[0][-1] == dict.fromkeys(names) | {"path": "bad.wav", "error": "is empty: 0 bytes"}


@pytest.mark.parametrize("form", FORMS)
def test_paths_of_a_shard_are_read_back(tmp_path: Path, form: ShardFormat) -> None:
    path = shard(tmp_path, form)
    assert list(read_paths(path.read_bytes(), path.name, form, SCENES)) == [row_key(name, form) for name in NAMES]
    assert [row_key(name, form) for name in NAMES[:4]] == [*NAMES[:3], "caf\\udce9.wav"]
    whole = path.read_bytes()
    path.write_bytes(whole[: len(whole) - 20])  # what no kill leaves, but a full disk or a hand may
    with pytest.raises(
        SceneError, match=r"part-00000\.\w+: not a whole shard \(.*\); move it away to predict its recordings"
    ):
        list(read_paths(path.read_bytes(), path.name, form, SCENES))


def test_a_row_keeps_no_segments_and_no_path_in_its_error() -> None:
    row = Row.of("s3://b/x.wav", AudioError("/tmp/1.wav: lasts 1 s"), "/tmp/1.wav")
    assert (row.path, row.error) == ("s3://b/x.wav", "lasts 1 s")
    assert document(row) == {"path": "s3://b/x.wav", "error": "lasts 1 s"}
    assert flat(row, SCENES) == ("s3://b/x.wav", *(None,) * 5, "lasts 1 s", None, None, None, None)
    kept = Row.of("a.wav", answer("a.wav")).prediction
    assert kept is not None
    assert kept.segments == ()


def test_a_shard_that_cannot_be_written_leaves_nothing(tmp_path: Path) -> None:
    (tmp_path / "part-00000.csv").mkdir()
    with pytest.raises(SceneError, match=r"part-00000\.csv: cannot be written"):
        Storage(tmp_path).write("part-00000.csv", shard_bytes(ROWS, SCENES, "csv"))
    assert [p.name for p in tmp_path.iterdir()] == ["part-00000.csv"]


def test_seen_is_a_set_across_its_array_and_its_latest(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sources_module, "_FRESH", 100)
    seen, texts = PathSet(), [f"rec/{n % 950}.wav" for n in range(1900)]
    assert [seen.add(text) for text in texts] == [True] * 950 + [False] * 950
    assert len(seen) == 950
    assert "rec/0.wav" in seen
    assert "rec/949.wav" in seen
    assert "rec/950.wav" not in seen
    assert seen.add("caf\udce9")
    assert "caf\udce9" in seen
