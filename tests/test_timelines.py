"""Spans, changes and their rows from predictions made by hand; files that other programs read; the picture."""

import csv
import io
import json
import os
import re
import sys
from collections.abc import Callable
from contextlib import nullcontext
from dataclasses import replace
from datetime import datetime
from pathlib import Path
from typing import NoReturn, TextIO
from xml.etree import ElementTree

import numpy as np
import pytest
import torch
from jaxtyping import Float64
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.image import imread

from soundscene import timelines as lines
from soundscene.errors import SceneError
from soundscene.model import Model
from soundscene.plotting.timeline_figure import draw_timeline, timeline_figure
from soundscene.prediction import ScenePrediction, SegmentPrediction
from soundscene.predictor import Predictor
from soundscene.scoring.fusion import product, temper
from soundscene.timelines import timeline, training_prior
from soundscene.training.between_class import draw_pairs
from soundscene.types import Change, Span, Timeline, clock
from tests.support.tiny import RATE, SCENES, TINY, blank_bundle, recording, write

BUNDLE = blank_bundle()  # temperature of the softmax layer 0.8, of the SVM 1.3; nothing known of its training


def prediction(
    scenes: str, start_s: Float64[np.ndarray, " segment"] | None = None, sure: float = 0.9, name: str = "a.wav"
) -> ScenePrediction:
    """Segments that say 0, 1 or 2, one a letter, each with probability `sure`."""
    starts = 2.0 * np.arange(len(scenes)) if start_s is None else start_s
    rows = np.full((len(scenes), 3), (1 - sure) / 2)
    rows[np.arange(len(scenes)), [int(letter) for letter in scenes]] = sure
    segments = tuple(SegmentPrediction(float(s), float(s) + 2, row) for s, row in zip(starts, rows, strict=True))
    whole = np.exp(product(np.log(np.maximum(rows, 1e-300))))
    return ScenePrediction(name, float(starts[-1]) + 2.3, SCENES, whole, segments, ("a note",))


def found(scenes: str, stay_s: float = 60.0, start_s: Float64[np.ndarray, " segment"] | None = None) -> Timeline:
    return timeline(prediction(scenes, start_s), BUNDLE, "svm", stay_s)


# --- spans and changes ------------------------------------------------------------------------------------------------


def test_spans_meet_where_the_scene_changes_and_odd_segments_are_outvoted() -> None:
    line = found("0" * 20 + "1" * 10 + "2" + "1" * 10 + "0" * 9)
    assert [(s.start_s, s.end_s, s.scene) for s in line.spans] == [
        (0.0, 40.0, SCENES[0]),
        (40.0, 82.0, SCENES[1]),
        (82.0, 100.0, SCENES[0]),
    ]
    assert [(c.time_s, c.before, c.after) for c in line.changes] == [(40.0, *SCENES[:2]), (82.0, SCENES[1], SCENES[0])]
    assert all(0.95 < c.probability < 1 for c in line.changes)
    assert (line.source, line.duration_s, line.scenes, line.stay_s, line.notes) == (
        "a.wav",
        100.3,
        SCENES,
        60.0,
        ("a note",),
    )
    np.testing.assert_allclose(line.marginal.sum(axis=1), 1)
    for span in line.spans:
        inside = (line.start_s >= span.start_s) & (line.end_s <= span.end_s)
        assert span.probability == pytest.approx(line.marginal[inside, SCENES.index(span.scene)].mean())
    assert line.posterior[30].tolist() == pytest.approx([0.05, 0.05, 0.9])  # as the model gave it
    assert line.marginal[30].argmax() == 1


def test_a_doubtful_change_has_a_lower_probability() -> None:
    clear = timeline(prediction("0" * 20 + "1" * 20, sure=0.9), BUNDLE, "svm", 60.0)
    vague = timeline(prediction("0" * 20 + "1" * 20, sure=0.5), BUNDLE, "svm", 60.0)
    assert len(clear.changes) == len(vague.changes) == 1
    assert vague.changes[0].probability < 0.8 < 0.98 < clear.changes[0].probability


def test_a_stay_for_ever_is_the_prediction_of_the_recording() -> None:
    answer = prediction("0120110102", sure=0.4)
    line = timeline(answer, BUNDLE, "svm", 1e9)
    logs = np.log(np.stack([s.posterior for s in answer.segments]))
    np.testing.assert_allclose(np.exp(temper(product(logs), 1.3)), line.marginal[4], rtol=1e-6)
    assert [s.scene for s in line.spans] == [answer.scene]
    assert line.changes == ()


def test_a_silence_within_a_stay_is_bridged_a_longer_one_and_one_between_scenes_are_not() -> None:
    starts = 2.0 * np.arange(40)
    starts[20:] += 59.0
    line = found("0" * 40, 60.0, starts)
    assert [(s.start_s, s.end_s) for s in line.spans] == [(0.0, 139.0)]
    starts[20:] += 2.0
    line = found("0" * 40, 60.0, starts)
    assert [(s.start_s, s.end_s) for s in line.spans] == [(0.0, 40.0), (101.0, 141.0)]
    assert line.changes == ()
    assert [row["change_probability"] for row in lines.rows(line)] == [None, None]
    line = found("0" * 20 + "1" * 20, 60.0, starts)
    assert [(s.start_s, s.end_s) for s in line.spans] == [(0.0, 40.0), (101.0, 141.0)]
    assert [c.time_s for c in line.changes] == [101.0]


def test_the_last_piece_that_overlaps_ends_where_the_recording_ends() -> None:
    starts = np.append(2.0 * np.arange(12), 23.2)
    line = found("0" * 12 + "1", 4.0, starts)
    assert [(s.start_s, s.end_s) for s in line.spans] == [(0.0, 23.2), (23.2, 25.2)]


def test_one_segment_and_one_that_is_certain() -> None:
    assert [(s.start_s, s.end_s) for s in found("2").spans] == [(0.0, 2.0)]
    one_liar = prediction("0" * 30 + "1" + "0" * 30, sure=1.0)  # probability zero elsewhere
    line = timeline(one_liar, BUNDLE, "svm", 300.0)
    assert len(line.spans) == 3  # a certain one is believed: 34.5 nats are more than two changes
    mild = SegmentPrediction(60.0, 62.0, np.array([0.001, 0.998, 0.001]))
    weak = (*one_liar.segments[:30], mild, *one_liar.segments[31:])
    line = timeline(ScenePrediction("a", 122.0, SCENES, one_liar.posterior, weak), BUNDLE, "svm", 300.0)
    assert len(line.spans) == 1


@pytest.mark.parametrize("stay_s", [2.9, 0.0, -5.0, float("nan"), float("inf")])
def test_a_stay_that_makes_no_sense_is_refused_in_one_line(stay_s: float) -> None:
    with pytest.raises(SceneError) as refusal:
        found("000", stay_s)
    assert str(refusal.value).startswith(
        f"an expected stay of {stay_s:g} s: allowed are 3 s (every segment on its own) to 1e+09 s"
    )


def test_the_expected_stay_decides_how_long_a_scene_must_speak() -> None:
    scenes = "0" * 30 + "1" * 2 + "0" * 30
    assert [len(found(scenes, stay_s).spans) for stay_s in (4.0, 1e5)] == [3, 1]


# --- the prior of the training ----------------------------------------------------------------------------------------


def trained_on(counts: object, *settings: str) -> Model:
    bundle = blank_bundle(TINY.with_settings(settings))
    return replace(bundle, provenance={"recordings": counts})


def test_the_prior_is_what_each_head_learnt_from() -> None:
    counts = dict(zip(SCENES, (10, 20, 70), strict=True))
    np.testing.assert_allclose(training_prior(trained_on(counts), "svm"), [0.1, 0.2, 0.7])
    plain = trained_on(counts, "training.mixing=none")
    np.testing.assert_allclose(training_prior(plain, "softmax"), [0.1, 0.2, 0.7])
    balanced = trained_on(counts, "training.balanced=true")
    np.testing.assert_allclose(training_prior(balanced, "softmax"), np.full(3, 1 / 3))
    np.testing.assert_allclose(training_prior(balanced, "svm"), [0.1, 0.2, 0.7])


def test_the_prior_of_between_class_pairs_is_that_of_the_pairs_that_training_draws() -> None:
    labels = torch.repeat_interleave(torch.arange(3), torch.tensor([10, 20, 70]))
    pairs = draw_pairs(labels, 100_000, torch.Generator().manual_seed(0))
    drawn = torch.bincount(torch.cat([labels[pairs.first], labels[pairs.second]]), minlength=3).numpy() / 200_000
    counts = dict(zip(SCENES, (10, 20, 70), strict=True))
    prior = training_prior(trained_on(counts), "softmax")
    assert prior.sum() == pytest.approx(1)
    np.testing.assert_allclose(prior, drawn, atol=0.004)
    assert abs(prior[2] - 0.7) > 0.1


@pytest.mark.parametrize("counts", [None, {}, {"rain": 3}, dict.fromkeys(SCENES, 0), dict.fromkeys(SCENES, "3"), [1, 2, 3]])
def test_without_numbers_that_fit_the_prior_is_uniform(counts: object) -> None:
    np.testing.assert_allclose(training_prior(trained_on(counts), "svm"), np.full(3, 1 / 3))


# --- rows and files ---------------------------------------------------------------------------------------------------

LINE = Timeline(
    source="long, \udcff.wav",
    duration_s=7300.5,
    scenes=("rain", "sea\tshore"),
    stay_s=300.0,
    spans=(Span(0.0, 3599.6, "rain", 0.987654321), Span(3599.6, 7300.0, "sea\tshore", 1.0)),
    changes=(Change(3599.6, "rain", "sea\tshore", 0.5),),
    start_s=np.array([0.0, 3599.6]),
    end_s=np.array([2.0, 3601.6]),
    posterior=np.array([[0.9, 0.1], [0.2, 0.8]]),
    marginal=np.array([[0.9, 0.1], [0.2, 0.8]]),
)


def written(write_to: Callable[[Timeline, TextIO], None], folder: Path) -> str:
    path = folder / "rows"
    with path.open("w", encoding="utf-8", errors="surrogateescape", newline="") as stream:
        write_to(LINE, stream)
    return path.read_bytes().decode("utf-8", "surrogateescape")


def test_csv_and_json_lines_hold_the_same_rows(tmp_path: Path) -> None:
    text = written(lines.write_csv, tmp_path)
    assert text.splitlines()[0] == "path,start_s,end_s,scene,probability,change_probability,start_time,end_time"
    rows = list(csv.DictReader(io.StringIO(text)))
    assert [tuple(r.values())[1:] for r in rows] == [
        ("0.000", "3599.600", "rain", "0.987654", "", "", ""),
        ("3599.600", "7300.000", "sea\tshore", "1.000000", "0.500000", "", ""),
    ]
    text = written(lines.write_json_lines, tmp_path)
    assert text.isascii()
    plain = [json.loads(line) for line in text.splitlines()]
    assert [list(row) for row in plain] == [list(lines.COLUMNS)] * 2
    assert [row["change_probability"] for row in plain] == [None, 0.5]
    for row, other in zip(plain, rows, strict=True):
        assert row["path"] == LINE.source
        assert [row[k] for k in ("start_s", "end_s", "probability")] == [
            float(other[k]) for k in ("start_s", "end_s", "probability")
        ]


def test_labels_are_three_fields_parted_by_tabs_whatever_the_scene_is_called(tmp_path: Path) -> None:
    assert (
        written(lines.write_labels, tmp_path)
        == "0.000000\t3599.600000\train 0.99\n3599.600000\t7300.000000\tsea shore 1.00\n"
    )


def test_parquet_holds_the_rows_and_the_stay(tmp_path: Path) -> None:
    parquet = pytest.importorskip("pyarrow.parquet")
    lines.write_parquet(LINE, tmp_path / "a.parquet")
    table = parquet.read_table(tmp_path / "a.parquet")
    assert table.schema.metadata[b"soundscene.stay_s"] == b"300"
    assert table.to_pylist() == [row | {"path": "long, \\udcff.wav"} for row in lines.rows(LINE)]
    assert [str(t) for t in table.schema.types] == ["string", "double", "double"] * 2 + ["string"] * 2
    assert os.listdir(tmp_path) == ["a.parquet"]
    with pytest.raises(SceneError, match="cannot be written"):
        lines.write_parquet(LINE, tmp_path / "no" / "a.parquet")


def test_without_pyarrow_one_line_names_the_extra(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    with pytest.raises(SceneError) as refusal:
        lines.write_parquet(LINE, tmp_path / "a.parquet")
    why = 'needs PyArrow, which is not installed: pip install "soundscene[parquet]"'
    assert str(refusal.value) == f"{tmp_path / 'a.parquet'}: Parquet {why}"
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("seconds", "text"), [(0.0, "0:00:00"), (59.6, "0:01:00"), (3661.2, "1:01:01"), (360000.0, "100:00:00")]
)
def test_clock(seconds: float, text: str) -> None:
    assert clock(seconds) == text


# --- from sound -------------------------------------------------------------------------------------------------------


def test_from_a_file_with_silence_to_spans(tmp_path: Path) -> None:
    samples = np.concatenate([recording("rain", 12.0, 0), np.zeros(6 * RATE, np.float32), recording("office", 13.1, 0)])
    predictor = Predictor(BUNDLE)
    with pytest.warns(UserWarning, match="did not vote"):
        answer = predictor.predict(write(tmp_path / "a.wav", samples))
    line = timeline(answer, predictor.model, predictor.head, 20.0)
    assert line.notes == answer.notes
    assert len(line.start_s) == 6 + 7  # the rest of 1.1 s is more than half a segment
    assert line.spans[0].start_s == 0
    assert line.spans[-1].end_s == pytest.approx(31.1)
    assert 12.0 not in line.start_s


# --- the picture ------------------------------------------------------------------------------------------------------


def many(n_segments: int, scenes: tuple[str, ...], silent: slice = slice(0)) -> Timeline:
    """Every scene in turn, with some of the segments silent."""
    said = np.arange(n_segments) * len(scenes) // n_segments
    posterior = np.full((n_segments, len(scenes)), 0.1 / (len(scenes) - 1))
    posterior[np.arange(n_segments), said] = 0.9
    keep = np.ones(n_segments, bool)
    keep[silent] = False
    segments = tuple(SegmentPrediction(2.0 * i, 2.0 * i + 2, posterior[i]) for i in range(n_segments) if keep[i])
    bundle = blank_bundle(scenes=scenes)
    answer = ScenePrediction("/somewhere/long $5_$x.flac", 2.0 * n_segments + 0.7, scenes, posterior[0], segments)
    return timeline(answer, bundle, "svm", 60.0)


LONG_NAMES = ("a" * 60, "W" * 40, "ein Bahnhof in der Nacht", "雨の音と海", "sea")


@pytest.mark.parametrize("names", [LONG_NAMES, ("rain", "sea")])
def test_no_name_is_cut(names: tuple[str, ...]) -> None:
    figure = timeline_figure(many(60, names))
    canvas = figure.canvas
    assert isinstance(canvas, FigureCanvasAgg)
    with pytest.warns(UserWarning, match="Glyph") if names == LONG_NAMES else nullcontext():
        canvas.draw()
        renderer = canvas.get_renderer()
        for axis in figure.axes[:2]:
            labels = [label for label in axis.get_yticklabels() if label.get_text()]
            assert sorted(label.get_text() for label in labels) == sorted(names)
            for text in (*labels, axis.title, axis.xaxis.label):
                box = text.get_window_extent(renderer)
                assert box.x0 >= 0
                assert box.y0 >= 0
                assert box.x1 <= figure.bbox.width
                assert box.y1 <= figure.bbox.height


def test_lanes_hold_the_spans_and_the_axis_is_in_hours() -> None:
    line = many(5400, ("rain", "sea", "train"))
    figure = timeline_figure(line)
    lanes, strip = figure.axes[:2]
    bars = sorted(tuple(path.get_extents().bounds) for collection in lanes.collections for path in collection.get_paths())
    assert [(x, width) for x, _, width, _ in bars[:3]] == [
        (s.start_s, pytest.approx(s.end_s - s.start_s)) for s in line.spans
    ]
    assert len({y for _, y, _, _ in bars[:3]}) == 3  # each in a lane of its own
    figure.canvas.draw()
    ticks = zip(strip.get_xticks(), strip.get_xticklabels(), strict=True)
    shown = [label.get_text() for x, label in ticks if 0 <= x <= line.duration_s]
    assert shown == [f"{n // 2}:{n % 2 * 3}0:00" for n in range(7)]
    mesh = strip.collections[0].get_array()
    assert mesh is not None
    assert mesh.shape == (3, 1200)  # not 5400 columns
    np.testing.assert_allclose(mesh.sum(axis=0), 1, atol=1e-9)
    assert mesh.argmax(axis=0)[[100, 600, 1100]].tolist() == [
        [label.get_text() for label in strip.get_yticklabels()].index(name) for name in ("rain", "sea", "train")
    ]


def test_silence_is_blank_and_hatched() -> None:
    figure = timeline_figure(many(100, ("rain", "sea"), slice(20, 30)))
    for axis in figure.axes[:2]:
        hatched = [patch for patch in axis.patches if patch.get_hatch()]
        assert [patch.get_extents().transformed(axis.transData.inverted()).bounds[::2] for patch in hatched] == [
            (pytest.approx(40.0), pytest.approx(20.0))
        ]
    drawn = figure.axes[1].collections[0].get_array()
    assert drawn is not None
    mesh = np.ma.filled(np.ma.masked_invalid(drawn), -1)
    assert (mesh[:, 20:30] == -1).all()
    assert (mesh[:, [10, 40]] >= 0).all()


def test_png_and_svg(tmp_path: Path) -> None:
    line = many(100, ("rain & <hail>", "sea"))
    draw_timeline(line, tmp_path / "a.png")
    pixels = imread(tmp_path / "a.png")
    assert pixels.shape[1] > 1000
    assert pixels[..., :3].min() == 0
    draw_timeline(line, tmp_path / "a.SVG")
    text = (tmp_path / "a.SVG").read_text(encoding="utf-8")
    ElementTree.fromstring(text)
    assert "rain &amp; &lt;hail&gt;" in text
    assert re.search("long .5_.x.flac: scene over time", text)
    draw_timeline(line, tmp_path / "b.svg")
    assert (tmp_path / "b.svg").read_text(encoding="utf-8") == text  # no date, no random ids
    assert sorted(os.listdir(tmp_path)) == ["a.SVG", "a.png", "b.svg"]


def test_pictures_that_cannot_be(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    line = many(10, ("rain", "sea"))
    with pytest.raises(SceneError, match=r"ends in \.png or \.svg"):
        draw_timeline(line, tmp_path / "a.jpg")

    def full(*_: object) -> NoReturn:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "replace", full)
    with pytest.raises(SceneError, match="No space left"):
        draw_timeline(line, tmp_path / "a.png")
    assert not list(tmp_path.iterdir())


def test_what_the_decoder_reads_is_kept_and_several_recordings_follow_each_other_in_raven(tmp_path: Path) -> None:
    line = timeline(prediction("001"), BUNDLE, "svm")  # a uniform prior, and a temperature of 1.3
    tempered = line.posterior ** (1 / 1.3)
    assert line.tempered is not None
    np.testing.assert_allclose(line.tempered, tempered / tempered.sum(axis=1, keepdims=True))
    second = replace(LINE, source="b.wav", started=datetime(2026, 5, 3, 23, 59, 58))
    with (tmp_path / "a.txt").open("w") as file:
        lines.write_raven([LINE, second], file, 8000.0)
    header, *rows = (line.split("\t") for line in (tmp_path / "a.txt").read_text().splitlines())
    boxes = [dict(zip(header, row, strict=True)) for row in rows]
    assert [box["Selection"] for box in boxes] == [str(n + 1) for n in range(2 * len(LINE.spans))]
    later = boxes[len(LINE.spans)]
    assert float(later["Begin Time (s)"]) == LINE.duration_s + LINE.spans[0].start_s
    assert float(later["File Offset (s)"]) == LINE.spans[0].start_s
    assert (later["Begin Path"], later["High Freq (Hz)"]) == ("b.wav", "8000")
    assert lines.wall_time(second, 3.0) == "2026-05-04T00:00:01"


def test_shares_of_time_sum_to_one() -> None:
    shares = lines.shares([LINE, LINE])
    assert sum(share for _, _, share in shares) == pytest.approx(1, abs=1e-3)
    assert shares[0][:2] == ("sea\tshore", pytest.approx(2 * 3700.4))
    assert {name for name, _, _ in shares} >= set(LINE.scenes)
