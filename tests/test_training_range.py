"""The range of the training recordings: learnt, kept in the model's file, and compared with what is predicted."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import soxr
import torch

from soundscene.bundle import load_model, save_model
from soundscene.errors import AudioWarning
from soundscene.live import MEASURED_S
from soundscene.model import Model
from soundscene.pipeline import evaluate_on_manifest, train_on_manifest
from soundscene.prediction import ScenePrediction
from soundscene.predictor import Predictor
from soundscene.signal.ranges import TrainingRange
from soundscene.timelines import timeline
from tests.support.tiny import RATE, SCENES, TINY, blank_bundle, blank_pair, only, recording, write, write_corpus

pytestmark = pytest.mark.filterwarnings("ignore::soundscene.errors.AudioWarning")

FULL = (11025.0, 11025.0, 11025.0, 11025.0, 11025.0)
USUAL = TrainingRange(100, FULL, (-35.0, -34.0, -28.0, -22.0, -20.0), (0.5, 1.0, 2.0, 9.0, 10.0))
VARIED = [
    *("augmentation.level_db=[-30, 20]", "augmentation.tilt_db=14", "augmentation.response_db=4"),
    *(f"augmentation.{kind}=0.9" for kind in ("low_pass", "codec", "background", "clipping", "mix_statistics")),
]
LOW = replace(USUAL, bandwidth_hz=(7600.0, 7700.0, 7800.0, 11025.0, 11025.0))


def predictor(usual: TrainingRange | None = USUAL) -> Predictor:
    return Predictor(replace(blank_bundle(), usual=usual))


def sound(seconds: float = 4.0, rate: int = RATE, seed: int = 0) -> np.ndarray:
    """Wind with a level inside the range."""
    samples = recording("wind", seconds, seed)
    samples *= 0.04 / np.sqrt(np.mean(samples**2))
    return samples if rate == RATE else np.asarray(soxr.resample(samples, RATE, rate), np.float32)


def dull(seconds: float = 4.0) -> np.ndarray:
    """The same by way of 16 kHz."""
    return np.asarray(soxr.resample(sound(seconds, 16000), 16000, RATE), np.float32)


def notes(samples: np.ndarray, rate: int = RATE, usual: TrainingRange | None = USUAL) -> tuple[str, ...]:
    return predictor(usual).predict((samples, rate)).notes


# --- a prediction -----------------------------------------------------------------------------------------------------


def test_sound_like_the_trainings_has_no_note() -> None:
    assert notes(sound()) == ()


@pytest.mark.parametrize(
    ("samples", "start"),
    [
        (dull(), "nothing above 7."),
        (0.01 * sound(), "level -68 dB of full scale, below the training's -35 to -20 dB"),
        (8 * sound(), "level -10 dB of full scale, above the training's"),
        (sound() * np.where(np.arange(4 * RATE) % RATE < RATE // 2, 1, 0.001).astype(np.float32), "level 5"),
    ],
)
def test_what_is_outside_the_range_is_noted_in_one_line(samples: np.ndarray, start: str) -> None:
    (note,) = (n for n in notes(samples) if not n.startswith("peak"))
    assert note.startswith(start)
    assert "\n" not in note
    assert len(note) < 160


def test_a_warning_says_so_too() -> None:
    with pytest.warns(AudioWarning, match="nothing above 7"):
        predictor().predict((dull(), RATE))


@pytest.mark.parametrize("rate", [8000, 16000])
def test_a_low_rate_is_noted_once_and_by_the_header(rate: int) -> None:
    (note,) = notes(sound(rate=rate), rate)
    assert note.startswith(f"sampled at {rate} Hz, below the recipe's 22050 Hz")


def test_a_model_that_was_trained_on_low_passed_sound_notes_none() -> None:
    assert notes(dull(), usual=LOW) == notes(sound(rate=16000), 16000, LOW) == ()
    assert notes(sound(rate=8000), 8000, LOW)[0].startswith("sampled at 8000 Hz")


def test_a_model_without_a_range_goes_by_the_header() -> None:
    assert notes(dull(), usual=None) == notes(0.01 * sound(), usual=None) == ()
    assert notes(sound(rate=16000), 16000, None)[0].startswith("sampled at 16000 Hz")


def test_a_file_an_array_and_many_files_have_the_same_notes(tmp_path: Path) -> None:
    path = write(tmp_path / "dull.wav", dull())
    model = predictor()
    expected = model.predict((dull(), RATE)).notes
    assert model.predict(path).notes == expected != ()
    for _, found in model.predict_each([path, path], 2):
        assert isinstance(found, ScenePrediction)
        assert found.notes == expected


def test_a_model_of_two_members_notes_once() -> None:
    pair = Predictor(replace(blank_pair(), usual=USUAL))
    assert len(pair.predict((dull(), RATE)).notes) == 1


def test_a_timeline_has_the_notes() -> None:
    model = predictor()
    spans = timeline(model.predict((dull(6.0), RATE)), model.model, model.head)
    assert spans.notes[0].startswith("nothing above 7.")


# --- a stream ---------------------------------------------------------------------------------------------------------


def test_a_stream_is_judged_once_it_is_known() -> None:
    samples = dull(MEASURED_S + 6)
    blocks = np.array_split(samples, 29)
    updates = list(predictor().stream(blocks, RATE))
    noted = [bool(update.notes) for update in updates]
    assert noted == sorted(noted)  # from some time on, and then for good
    first = noted.index(True)
    assert MEASURED_S - 4 <= updates[first].start_s <= MEASURED_S + 2
    assert all(update.notes == updates[-1].notes for update in updates[first:])
    assert updates[-1].notes[0].startswith("nothing above 7.")


def test_a_short_stream_is_judged_at_its_end() -> None:
    *_, last = predictor().stream([dull()], RATE)
    assert last.notes == notes(dull())


def test_a_stream_of_a_low_rate_goes_by_the_header_unless_the_model_knows_it() -> None:
    blocks = [sound(MEASURED_S + 3, 16000)]
    assert {len(update.notes) for update in predictor().stream(blocks, 16000)} == {1}
    assert {update.notes for update in predictor(LOW).stream(blocks, 16000)} == {()}


# --- training, evaluation and the file --------------------------------------------------------------------------------


def test_training_learns_the_range_and_evaluation_compares_with_it(tmp_path: Path) -> None:
    model = train_on_manifest(write_corpus(tmp_path / "corpus"), tmp_path / "m.safetensors", TINY, test="fold=1")
    assert model.usual is not None
    assert model.usual.recordings == 12
    assert model.usual.bandwidth_hz == FULL
    assert load_model(tmp_path / "m.safetensors").usual == model.usual
    rows = ["path,scene"]
    for scene in SCENES:
        low = soxr.resample(recording(scene, 2.5, 90), RATE, 16000)
        write(tmp_path / "other" / f"{scene}.wav", soxr.resample(low, 16000, RATE))
        rows.append(f"{scene}.wav,{scene}")
    (tmp_path / "other" / "manifest.csv").write_text("\n".join(rows) + "\n")
    found = evaluate_on_manifest(model, tmp_path / "other" / "manifest.csv")
    assert [note.partition(" kHz")[0][:-2] for note in found.notes] == [f"{s}.wav: nothing above 7" for s in SCENES]
    assert evaluate_on_manifest(model, tmp_path / "corpus" / "manifest.csv", test="fold=1").notes == ()


def test_the_range_is_that_of_the_recordings_whatever_is_varied(tmp_path: Path) -> None:
    manifest = write_corpus(tmp_path / "corpus", n_per_scene=2)
    recipe = TINY.with_settings(["training.epochs=1"])
    one = train_on_manifest(manifest, tmp_path / "one.safetensors", recipe)
    assert one.usual is not None
    for number, varied in enumerate((["training.gain_db=20"], VARIED)):
        changed = recipe.with_settings(varied)
        assert changed != recipe
        other = train_on_manifest(manifest, tmp_path / f"{number}.safetensors", changed)
        assert other.usual == one.usual
        assert not torch.equal(only(other).network.softmax.weight, only(one).network.softmax.weight), "nothing was varied"


@pytest.mark.parametrize("make", [blank_bundle, blank_pair])
def test_the_range_travels_with_the_model(tmp_path: Path, make: Callable[[], Model]) -> None:
    save_model(replace(make(), usual=USUAL), tmp_path / "m.safetensors")
    assert load_model(tmp_path / "m.safetensors").usual == USUAL
