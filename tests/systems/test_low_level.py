"""Low-level features of label trees: by physics, on a grid that holds every stretch once."""

from pathlib import Path

import numpy as np
import pytest

from soundscene.data.corpus import Corpus
from soundscene.data.store import FeatureStore
from soundscene.errors import RecipeError
from soundscene.recipe import Recipe
from soundscene.systems.low_level import (
    SETS,
    LowLevelSettings,
    Stretches,
    describe_stretches,
    evenly,
    low_level,
    stretches_of,
    with_zeros,
    without_sound,
)
from soundscene.types import Recording
from tests.support.tiny import RATE, recording, write

CHOICES = LowLevelSettings()
LEVEL, CENTROID, BANDWIDTH, CROSSINGS = 46, 51, 52, 45  # of the spectral set, before the deviations


def describe(samples: np.ndarray) -> np.ndarray:
    return describe_stretches(samples[None].astype(np.float32), RATE, CHOICES)[0]


def test_a_tone_is_where_it_is() -> None:
    time = np.arange(RATE // 2) / RATE
    values = describe(0.5 * np.sin(2 * np.pi * 2000 * time))
    assert values.shape == (250,)
    assert [part.stop - part.start for part in SETS.values()] == [106, 64, 80]
    assert values[CENTROID] == pytest.approx(2000, abs=20)
    assert values[BANDWIDTH] < 100
    assert values[CROSSINGS] == pytest.approx(4000 / RATE, rel=0.02)
    assert values[LEVEL] == pytest.approx(np.log(0.125), abs=0.05)
    assert np.abs(values[53 : 53 + 53]).max() < 25  # nothing changes but the phase of frames, which moves the centroid a bit
    noise = describe(np.random.default_rng(0).normal(0, 0.1, RATE // 2))
    assert noise[CENTROID] == pytest.approx(RATE / 4, rel=0.05)
    assert noise[BANDWIDTH] == pytest.approx(RATE / 2 / np.sqrt(12), rel=0.05)


def test_level_is_in_the_end_bands_and_the_energies_alone() -> None:
    noise = np.random.default_rng(0).normal(0, 0.1, RATE // 2)
    change = describe(noise) - describe(0.1 * noise)
    decade = np.log(100.0)
    assert change[:15] == pytest.approx([decade, *[0] * 13, -decade], abs=1e-3)
    assert change[LEVEL : LEVEL + 5] == pytest.approx([decade] * 5, abs=1e-3)
    assert change[[CROSSINGS, CENTROID, BANDWIDTH]] == pytest.approx([0, 0, 0], abs=0.1)
    assert change[53:106] == pytest.approx(np.zeros(53), abs=0.1)  # deviations
    assert change[106] == pytest.approx(decade * 8, rel=1e-3)  # the first of 64 orthonormal cosines: sqrt(64) levels
    assert change[107:138] == pytest.approx(np.zeros(31), abs=1e-2)


@pytest.fixture(scope="module")
def corpus(tmp_path_factory: pytest.TempPathFactory) -> Corpus:
    folder = tmp_path_factory.mktemp("low-level")
    lengths = {"10": 10.0, "3": 3.6, "2": 2.0}
    rows = [
        Recording(write(folder / f"{name}.wav", recording("rain", seconds, 0)), "rain", name)
        for name, seconds in lengths.items()
    ]
    silent = np.concatenate([np.zeros(2 * RATE), recording("rain", 2.0, 1)])
    rows.append(Recording(write(folder / "silent.wav", silent), "rain", "silent"))
    store = FeatureStore(folder / "store", low_level(Recipe().with_settings(["audio.last_piece=0.25"])))
    assert store.build(rows) == {}
    return store.load(rows)


def test_pieces_hold_every_stretch_and_stretches_come_once(corpus: Corpus) -> None:
    assert corpus.features.shape == (9 + 3 + 1 + 3, 7, 2, 250)
    assert corpus.start_s[:9].tolist() == list(range(9))
    assert corpus.regular[:9].tolist() == [True, False] * 4 + [True]
    assert corpus.start_s[9:12] == pytest.approx([0, 1, 1.6], abs=1e-3)
    assert corpus.regular[9:12].tolist() == [True, False, True]
    assert corpus.silent[-3:].tolist() == [True, False, False]
    stretches = stretches_of(corpus, ~corpus.silent, CHOICES)
    assert [int((stretches.recording == i).sum()) for i in range(4)] == [39, 18, 7, 11]
    kept = evenly(stretches, CHOICES)
    # 0 to 2.5, 2.85 and 3.1 s; of the last one not those at 1, 1.25 and 1.5 s, which end with the silence or before
    assert [int((stretches.recording[kept] == i).sum()) for i in range(4)] == [39, 13, 7, 8]
    assert (np.diff(stretches.start_s[kept & (stretches.recording == 1)]) >= 0.249).all()
    assert stretches.of_piece.shape == (15, 7)
    assert np.array_equal(stretches.features[stretches.of_piece], corpus.features[~corpus.silent])
    assert np.array_equal(corpus.features[0, 4:], corpus.features[1, :3])  # shared, whichever piece they are cut from


def test_silence_is_found_in_what_is_stored_and_pieces_agree_on_it(corpus: Corpus) -> None:
    stretches = stretches_of(corpus, np.ones(len(corpus.silent), np.bool_), CHOICES)
    assert stretches.start_s[stretches.silent].tolist() == [0.25 * i for i in range(7)]
    assert set(stretches.recording[stretches.silent]) == {3}
    without = stretches_of(corpus, ~corpus.silent, CHOICES)
    assert without.start_s[without.silent].tolist() == [1.0, 1.25, 1.5]
    assert without_sound(corpus.features).sum() == 7 + 3  # the last three of the silent piece are the first of the next


def test_one_sample_is_no_silence_and_the_other_channel_does_not_matter() -> None:
    waves = np.zeros((5, RATE // 2), np.float32)
    waves[1, 5000] = 2.0**-23  # the least of 24 bits
    waves[2, 3000] = -(2.0**-15)
    waves[3, -100:] = 0.05 * np.random.default_rng(0).normal(size=100)  # behind the last frame of the spectral set
    waves[4] = 2.0**-15  # no crossing, no change
    stored = describe_stretches(waves, RATE, CHOICES).astype(np.float16).astype(np.float32)
    assert np.array_equal(stored[0, :106], stored[3, :106])
    both = np.stack([stored, np.ones_like(stored)], axis=1)
    assert without_sound(both).tolist() == [True, False, False, False, False]
    assert not without_sound(both[:, ::-1]).any()


def test_an_even_sequence_goes_from_sound_to_sound() -> None:
    sounding = {0: "..x..xx.", 1: "....", 2: "x", 3: "xx.."}
    silent = np.array([mark == "." for marks in sounding.values() for mark in marks])
    recording = np.repeat(list(sounding), [len(marks) for marks in sounding.values()])
    start_s = np.concatenate([0.25 * np.arange(len(marks)) for marks in sounding.values()])
    start_s[6] -= 0.1  # a last piece, shifted back
    stretches = Stretches(np.zeros((len(silent), 2, 1), np.float32), recording, start_s, np.zeros((0, 7), np.int64), silent)
    kept = evenly(stretches, CHOICES)
    assert [np.flatnonzero(kept[recording == i]).tolist() for i in sounding] == [[2, 3, 4, 5], [0, 1, 2, 3], [0], [0, 1]]
    values = np.arange(1, 1 + (~silent).sum(), dtype=np.float32)[:, None]
    assert with_zeros(values, stretches)[:, 0].tolist() == [0, 0, 1, 0, 0, 2, 3, 0, 0, 0, 0, 0, 4, 5, 6, 0, 0]


def test_steady_noise_is_weaker_in_the_second_channel(tmp_path: Path) -> None:
    noise = 0.05 * np.random.default_rng(0).normal(size=8 * RATE)
    row = Recording(write(tmp_path / "noise.wav", noise), "a", "a")
    level = low_level(Recipe()).extract(row).features[2:, :, :, LEVEL]  # when the tracker has settled
    recorded, subtracted = level.mean(axis=(0, 1))
    assert recorded == pytest.approx(2 * np.log(0.05), abs=0.1)
    assert subtracted < recorded - 1


def test_other_rates_and_pieces_are_no_trouble_and_the_rest_is_refused_in_one_line(tmp_path: Path) -> None:
    row = Recording(write(tmp_path / "a.wav", recording("office", 2.5, 0)), "office", "a")
    for settings in (["audio.sample_rate=8000", "audio.noise_hop=64", "audio.noise_window=128"], ["audio.segment_s=0.5"]):
        features = low_level(Recipe().with_settings(settings)).extract(row).features
        assert np.isfinite(features).all()
        assert np.abs(features).max() < 60000  # float16 of the store
    with pytest.raises(RecipeError, match=r"audio\.segment_s: 0\.7 s are no multiple of 0\.5 s"):
        low_level(Recipe().with_settings(["audio.segment_s=0.7"]))
