"""Saved systems with segments: a timeline and a stream of the posteriors that `predict` has."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import soundfile

from soundscene import timelines
from soundscene.audio.pcm import Arrival
from soundscene.data.manifest import Manifest
from soundscene.errors import BundleError
from soundscene.live import Listener, listen
from soundscene.systems.catalogue import build, specs
from soundscene.systems.saved import SavedSystem, corpus_of, load_system
from soundscene.systems.segment_model import SegmentModel, segment_predictor, stream_model
from soundscene.systems.system import FitContext
from tests.support.small_systems import TINY, make_small
from tests.support.tiny import RATE, SCENES, recording, write, write_corpus

STREAMED = ("mfcc-dnn", "tt-dnn", "tt-lstm", "lstm-sa")


@pytest.fixture(scope="module", autouse=True)
def small():
    with pytest.MonkeyPatch.context() as patch:
        make_small(patch)
        yield


@pytest.fixture(scope="module")
def corpus(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Three recordings of each scene, but five of rain."""
    folder = tmp_path_factory.mktemp("sound")
    manifest = write_corpus(folder, 3)
    for number in (3, 4):
        write(folder / f"rain/{number}.wav", recording("rain", 2.2, number))
        with manifest.open("a") as file:
            file.write(f"rain/{number}.wav,rain,1\n")
    return manifest


def saved(name: str, manifest: Path, folder: Path) -> SavedSystem:
    system = build(specs([name])[0], TINY)
    recordings = Manifest.read(manifest).recordings
    read = corpus_of(recordings, [system.representation.extract(one) for one in recordings])
    save = system.fit(read, FitContext(0)).save
    assert save is not None
    save(folder / "m.safetensors", {})
    return load_system(folder / "m.safetensors")


@pytest.fixture(scope="module")
def day(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Sound of 8.6 s with 2 s of digital silence in it."""
    parts = [recording("rain", 4.0, 7), np.zeros(2 * RATE), recording("office", 2.6, 8)]
    return write(tmp_path_factory.mktemp("day") / "day.wav", np.concatenate(parts))


@pytest.mark.parametrize("name", [*STREAMED, "cnn-1d-2d-3d"])
def test_a_timeline_is_of_the_posteriors_of_predict(name: str, corpus: Path, day: Path, tmp_path: Path) -> None:
    system = saved(name, corpus, tmp_path)
    predictor = segment_predictor(system)
    prediction = predictor.predict(day)
    line = timelines.timeline(prediction, predictor.model, predictor.head, 10.0)
    assert line.start_s.tolist() == [0.0, 2.0, 6.0]
    np.testing.assert_array_equal(line.posterior, [one.posterior for one in system.predict(day).segments])
    assert line.spans[-1].end_s == pytest.approx(8.0)
    prior = predictor.model.training_prior("softmax")
    assert prior.sum() == pytest.approx(1.0)
    assert SCENES[int(prior.argmax())] == "rain"


@pytest.mark.parametrize("name", STREAMED)
def test_a_stream_has_the_posteriors_of_the_file(name: str, corpus: Path, day: Path, tmp_path: Path) -> None:
    system = saved(name, corpus, tmp_path)
    found = system.predict(day)
    sound = soundfile.read(day, dtype="float32", always_2d=True)[0]
    listener = Listener(stream_model(system), system.head, RATE)
    blocks = [Arrival(part, 0.0) for part in np.array_split(sound, 11)]
    updates = list(listen(listener, blocks))
    assert [one.start_s for one in updates] == [0.0, 2.0, 4.0, 6.0]
    assert [one.silent for one in updates] == [False, False, True, False]
    rows = [one.segment_posterior for one in updates if one.segment_posterior is not None]
    np.testing.assert_allclose(rows, [one.posterior for one in found.segments], atol=1e-5)
    assert updates[-1].posterior is not None
    np.testing.assert_allclose(updates[-1].posterior, found.posterior, atol=1e-5)
    for hop_s in (0.3, 3.0):  # also such as divide no segment
        at_hops = list(listen(Listener(stream_model(system), system.head, RATE, hop_s=hop_s), blocks))
        assert [one.start_s for one in at_hops[:3]] == pytest.approx([0.0, hop_s, 2 * hop_s], abs=1e-4)


def test_what_has_no_segments_or_needs_the_whole_is_refused_in_one_line(corpus: Path, tmp_path: Path) -> None:
    whole = saved("nearest-mean", corpus, tmp_path)
    with pytest.raises(BundleError, match=r"^a\.safetensors: a model of the system nearest-mean, which judges a recording"):
        segment_predictor(whole, "a.safetensors")
    with pytest.raises(BundleError, match="nearest-mean, which judges a whole recording; a stream has no end"):
        stream_model(whole)
    with pytest.raises(BundleError, match="cnn-1d-2d-3d, which scales sound by the level of the whole recording"):
        stream_model(saved("cnn-1d-2d-3d", corpus, tmp_path))


@pytest.mark.parametrize("count", [None, 0, "x", [1], True])
def test_without_counts_of_scenes_the_prior_is_uniform(count: object, corpus: Path, tmp_path: Path) -> None:
    system = saved("tt-dnn", corpus, tmp_path)
    assert system.state.facts["segments_by_scene"] == {"night_crickets": 2, "office": 2, "rain": 4}, "without the held-out"
    if count is None:
        del system.state.facts["segments_by_scene"]
    else:
        system.state.facts["segments_by_scene"]["rain"] = count
    assert SegmentModel(system).training_prior("softmax").tolist() == [1 / 3] * 3


def test_what_every_prediction_must_be_read_with_is_in_every_update(corpus: Path, day: Path, tmp_path: Path) -> None:
    system = replace(saved("tt-dnn", corpus, tmp_path), notes=("another librosa",))
    block = Arrival(np.ones((3 * RATE, 1), np.float32) / 9, 0.0)
    updates = list(listen(Listener(stream_model(system), system.head, RATE), [block]))
    assert all("another librosa" in one.notes for one in updates)
    assert "another librosa" in timelines.timeline(system.predict(day), SegmentModel(system), system.head, 10.0).notes
