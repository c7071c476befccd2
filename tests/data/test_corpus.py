"""All images of a corpus: the same as one by one, by any number of threads, with every broken file named."""

import threading
import time
from pathlib import Path
from typing import NoReturn

import numpy as np
import pytest

from soundscene.audio.files import read_samples
from soundscene.audio.folders import sound_files
from soundscene.data import corpus as corpus_module
from soundscene.data.corpus import Corpus, read_corpus
from soundscene.errors import AudioError, ManifestError, RecipeError
from soundscene.recipe import Recipe
from soundscene.signal.frontend import FrontEnd
from soundscene.threads import one_blas_thread
from soundscene.types import Recording
from tests.support.sounds import noise, sound

SHORT = Recipe().with_settings(["audio.segment_s=0.2"])  # so that seconds of sound are enough
SECONDS = (0.2, 0.61, 0.35, 0.499, 0.5, 0.53, 0.6)


@pytest.fixture(scope="module")
def recordings(tmp_path_factory: pytest.TempPathFactory) -> list[Recording]:
    folder = tmp_path_factory.mktemp("short")
    rows = []
    for number, seconds in enumerate(SECONDS):
        path = sound(folder / f"{number}.wav", noise(seconds, seed=number))
        rows.append(Recording(path, "bus" if number % 2 else "park", f"day {number // 2}", number + 2))
    return rows


def equal(one: Corpus, other: Corpus) -> None:
    assert one.recordings == other.recordings
    assert (one.content_hash, one.duration_s, one.notes) == (other.content_hash, other.duration_s, other.notes)
    for name in ("features", "recording", "start_s", "silent", "regular"):
        np.testing.assert_array_equal(getattr(one, name), getattr(other, name))


def test_images_are_those_of_each_recording_alone_in_the_order_of_the_manifest(recordings: list[Recording]) -> None:
    found = read_corpus(recordings, SHORT, workers=2)
    front_end = FrontEnd(SHORT.audio, SHORT.features)
    for number, recording in enumerate(recordings):
        with one_blas_thread():  # as in `read_corpus`; with two threads a product rounds differently
            alone = front_end(read_samples(recording.path, SHORT.audio))
        mine = found.recording == number
        np.testing.assert_array_equal(found.features[mine], alone.images)
        np.testing.assert_array_equal(found.start_s[mine], alone.start_s)
        assert found.duration_s[number] == pytest.approx(SECONDS[number], abs=1e-3)
    assert found.regular.all()
    assert len(set(found.content_hash)) == len(recordings)


def test_one_thread_and_two_give_the_same(recordings: list[Recording]) -> None:
    equal(read_corpus(recordings, SHORT, 0.1, workers=1), read_corpus(recordings, SHORT, 0.1, workers=2))


def test_progress_counts_every_recording(recordings: list[Recording]) -> None:
    seen = []
    read_corpus(recordings, SHORT, workers=2, progress=lambda done, total: seen.append((done, total)))
    assert seen == [(n, len(recordings)) for n in range(1, len(recordings) + 1)]


def test_overlapping_segments_are_for_training_and_the_regular_ones_are_those_of_a_prediction(
    recordings: list[Recording],
) -> None:
    plain = read_corpus(recordings, SHORT)
    dense = read_corpus(recordings, SHORT, 0.05 * 2)
    for number, seconds in enumerate(SECONDS):
        mine = dense.recording == number
        starts = dense.start_s[mine]
        n = round(seconds * 22050)
        assert starts == pytest.approx(np.arange((n - 4410) // 2205 + 1) * 0.1)
        chosen = starts[dense.regular[mine]]
        wanted = plain.start_s[plain.recording == number]
        assert len(chosen) == len(wanted), seconds
        assert np.all(
            (wanted - chosen >= -1e-9) & (wanted - chosen < 0.1)
        )  # the last piece on the grid, at most a hop early
    assert not dense.regular.all()
    same = np.isin(dense.start_s, plain.start_s) & dense.regular
    assert same.any()
    np.testing.assert_array_equal(dense.voting, dense.regular & ~dense.silent)


def test_a_hop_that_misses_the_pieces_of_a_prediction_is_refused(recordings: list[Recording]) -> None:
    with pytest.raises(RecipeError) as refusal:
        read_corpus(recordings, SHORT, 0.15)
    assert str(refusal.value) == (
        "recipe value training.segment_hop_s: 0.15 s are 3308 samples, which do not divide the 4410 of a segment; "
        "allowed are its half, its quarter, and so on"
    )
    with pytest.raises(RecipeError, match=r"segment_hop_s: 0\.4 s are 8820 samples"):
        read_corpus(recordings, SHORT, 0.4)


def test_silence_is_marked_and_does_not_vote(tmp_path: Path) -> None:
    samples = noise(0.6)
    samples[4410:8820] = 0
    rows = [Recording(sound(tmp_path / "a.wav", samples), "park", "a")]
    found = read_corpus(rows, SHORT)
    assert found.silent.tolist() == [False, True, False]
    assert found.voting.tolist() == [True, False, True]


def test_labels_and_groups_are_those_of_the_recording(recordings: list[Recording]) -> None:
    found = read_corpus(recordings, SHORT)
    scenes = ("bus", "park")
    for label, group, number in zip(found.labels(scenes), found.groups(), found.recording, strict=True):
        assert scenes[label] == recordings[number].scene
        assert group == recordings[number].group


def test_a_part_is_what_reading_the_part_alone_would_give(recordings: list[Recording]) -> None:
    whole = read_corpus(recordings, SHORT, 0.1)
    for chosen in ([4, 1, 6], [0], list(range(len(recordings)))):
        rows = [recordings[i] for i in chosen]
        equal(whole.take(rows), read_corpus(rows, SHORT, 0.1))
    equal(whole.take([recordings[i] for i in (5, 4, 1)]).take([recordings[1]]), whole.take([recordings[1]]))
    nothing = whole.take([])
    assert nothing.features.shape == (0, *whole.features.shape[1:])
    assert len(nothing.voting) == len(nothing.groups()) == len(nothing.labels(("bus", "park"))) == 0


def test_every_broken_file_is_named_with_its_line(recordings: list[Recording], tmp_path: Path) -> None:
    text = tmp_path / "text.wav"
    text.write_text("no sound")
    short = sound(tmp_path / "short.wav", noise(0.1))
    rows = [*recordings[:2], Recording(text, "bus", "x", 17), recordings[2], Recording(short, "bus", "y", 23)]
    rows.append(Recording(tmp_path / "gone.wav", "bus", "z"))  # of no CSV
    seen = []
    with pytest.raises(ManifestError) as refusal:
        read_corpus(rows, SHORT, progress=lambda done, total: seen.append(done))
    assert seen == [1, 2, 3, 4, 5, 6]  # all were tried
    assert str(refusal.value) == (
        "3 of 6 recordings cannot be used; repair them or remove their rows: "
        f"line 17: {text}: is not an audio file but plain text; "
        f"line 23: {short}: lasts 0.100 s, the recipe needs at least one segment of 0.200 s (audio.segment_s); leave the "
        "file out, or train with shorter segments; "
        f"{tmp_path / 'gone.wav'}: does not exist; is the path relative to another folder?"
    )


def test_of_very_many_broken_files_ten_are_named(tmp_path: Path) -> None:
    rows = [Recording(tmp_path / f"{n}.wav", "bus", str(n), n) for n in range(1, 13)]
    with pytest.raises(ManifestError, match=r"^12 of 12 recordings .*line 10: [^;]*10\.wav.*; and 2 more$") as refusal:
        read_corpus(rows, SHORT)
    assert "line 11" not in str(refusal.value)


def test_ctrl_c_does_not_wait_for_the_files_that_nobody_has_begun(
    recordings: list[Recording], monkeypatch: pytest.MonkeyPatch
) -> None:
    read, begun, lock = corpus_module.read_segments, [], threading.Lock()

    def slow(*arguments: object) -> object:
        with lock:
            begun.append(1)
        time.sleep(0.01)
        return read(*arguments)  # type: ignore[arg-type]

    def stop(done: int, total: int) -> NoReturn:
        raise KeyboardInterrupt

    monkeypatch.setattr(corpus_module, "read_segments", slow)
    with pytest.raises(KeyboardInterrupt):
        read_corpus(recordings * 20, SHORT, workers=1, progress=stop)
    assert len(begun) < 10


# --- folders ----------------------------------------------------------------------------------------------------------


def test_files_are_taken_as_given_and_folders_by_suffix_sorted_without_hidden_ones(tmp_path: Path) -> None:
    for name in ("b.WAV", "a.flac", "notes.txt", ".hidden.wav", "deep/er/c.mp3", ".git/d.wav"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text("")
    given = [tmp_path / "notes.txt", tmp_path, tmp_path / "gone.wav"]
    found = [path.relative_to(tmp_path).as_posix() for path in sound_files(given)]
    assert found == ["notes.txt", "a.flac", "b.WAV", "deep/er/c.mp3", "gone.wav"]


def test_a_folder_without_sound_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(AudioError) as refusal:
        list(sound_files([tmp_path]))
    assert str(refusal.value).startswith(f"{tmp_path}: no audio files in this folder; known suffixes are .aac, .aif, ")
