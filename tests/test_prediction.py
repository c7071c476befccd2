"""What a prediction shows of itself: one line, a card, a data frame, a picture, and equality."""

import pickle
import sys
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from matplotlib import pyplot
from scipy.io import wavfile

from soundscene import frames
from soundscene import prediction as module
from soundscene.errors import AudioError, SceneError
from soundscene.plotting.card import MOST_EMBEDDED, NO_PLAYER
from soundscene.prediction import MOST_PLAYERS, Predictions, ScenePrediction, SegmentPrediction
from soundscene.types import Change, Span, Timeline

SCENES = ("beach", "<b>café</b>", "street")


def made(source: str = "street.wav", **changes) -> ScenePrediction:
    segments = tuple(
        SegmentPrediction(2.0 * i, 2.0 * i + 2, np.array(row)) for i, row in enumerate(((0.1, 0.2, 0.7), (0.6, 0.3, 0.1)))
    )
    whole = ScenePrediction(source, 4.0, SCENES, np.array([0.25, 0.15, 0.6]), segments, ("below 4 kHz only",))
    return replace(whole, **changes)


def test_equality_and_hash_are_by_value() -> None:
    assert made() == made()
    assert hash(made()) == hash(made())
    assert made() != made(posterior=np.array([0.25, 0.16, 0.59]))
    assert made() != made(segments=made().segments[:1])
    assert made() != "street.wav"
    assert pickle.loads(pickle.dumps(made())) == made()
    assert len({made(), made(), made("other.wav")}) == 2
    empty = np.full((1, 3), 1 / 3)
    line = Timeline("x", 4.0, SCENES, 60.0, (Span(0.0, 4.0, "beach", 0.5),), (), np.zeros(1), np.ones(1), empty, empty)
    assert line == replace(line)
    assert line != replace(line, changes=(Change(2.0, "beach", "street", 0.9),))
    assert repr(line) == "<Timeline x: 1 span, 0 changes; 0:00:04>"


def test_one_line_names_the_three_best_and_the_unknown() -> None:
    assert repr(made()) == "<ScenePrediction street.wav: street 0.60, beach 0.25, <b>café</b> 0.15; 0:00:04, 1 note>"
    unknown = made(unfamiliarity=2.0, unfamiliarity_threshold=1.0, notes=())
    assert repr(unknown).startswith("<ScenePrediction street.wav: unknown; nearest: street 0.60")
    assert made().top(2) == [("street", 0.6), ("beach", 0.25)]
    assert made().top(0) == []
    assert len(made().top(9)) == 3


def test_a_card_plays_the_file_and_escapes_every_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = tmp_path / "<i>.wav"
    wavfile.write(file, 8000, np.zeros(100, np.int16))
    card = made(str(file))._repr_html_()
    assert card is not None
    assert card.count("<audio") == 1
    assert "data:audio/wav;base64,UklGR" in card
    assert "<b>café" not in card
    assert "<i>" not in card
    assert "&lt;b&gt;café" in card
    assert "note: below 4 kHz only" in card
    assert "<audio" not in (made("array")._repr_html_() or "<audio")
    with file.open("r+b") as sound:
        sound.truncate(MOST_EMBEDDED + 1)
    assert "no player: the file has 3.0 MB" in (made(str(file))._repr_html_() or "")
    both = Predictions([made(), AudioError("<x>.wav: not a sound file")])._repr_html_()
    assert both is not None
    assert "&lt;x&gt;.wav: not a sound file" in both
    file.write_bytes(b"RIFF")
    many = Predictions([made(str(file))] * (MOST_PLAYERS + 2))._repr_html_() or ""
    assert many.count("<audio") == MOST_PLAYERS
    assert many.count(NO_PLAYER) == 2
    monkeypatch.setattr(module, "find_spec", lambda name: None)
    assert made()._repr_html_() is None
    assert Predictions([made()])._repr_html_() is None


def test_data_frames_of_segments_and_of_recordings() -> None:
    frame = made().to_frame("pandas")
    assert list(frame.columns) == ["start_s", "end_s", "scene", "probability", *SCENES]
    assert list(frame["scene"]) == ["street", "beach"]
    assert frame["probability"].tolist() == [0.7, 0.6]
    rows = Predictions([made(), AudioError("x.wav: gone")]).to_frame()
    assert list(rows.columns) == ["path", "duration_s", "scene", "probability", "unknown", "notes", "error", *SCENES]
    assert rows["street"].tolist()[0] == 0.6
    assert rows["error"].tolist() == ["", "x.wav: gone"]
    assert len(Predictions().to_frame()) == 0


def test_polars_serves_where_pandas_is_not_there(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delitem(sys.modules, "pandas", raising=False)
    monkeypatch.setitem(sys.modules, "polars", SimpleNamespace(DataFrame=dict))
    assert made().to_frame()["street"] == [0.7, 0.1], "what the program has imported comes first"
    monkeypatch.delitem(sys.modules, "polars")
    monkeypatch.setattr(frames, "find_spec", lambda name: None)
    with pytest.raises(SceneError, match="needs pandas or polars: pip install pandas"):
        made().to_frame()
    with pytest.raises(SceneError, match="allowed are pandas and polars"):
        made().to_frame("dask")


def test_a_plot_has_a_row_per_scene_the_most_probable_first() -> None:
    pyplot.switch_backend("agg")
    axes = made().plot()
    assert [text.get_text() for text in axes.get_yticklabels()] == ["street", "beach", "<b>café</b>"]
    assert axes.get_xlim() == (0.0, 4.0)
    assert len(axes.patches) == 6
    darkest: Any = min(axes.patches, key=lambda bar: bar.get_facecolor()[0])
    assert (darkest.get_x(), darkest.get_y() + darkest.get_height() / 2) == (0.0, 0.0), "street, in the first segment"
    assert made().plot(axes) is axes
    pyplot.close("all")
