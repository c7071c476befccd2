"""Live answers: those of a file on the same sound, however it is cut; a window that forgets; a clock that stays right."""

import gc
import time
import tracemalloc
from collections.abc import Iterable, Iterator
from contextlib import closing
from dataclasses import replace
from functools import cache
from itertools import cycle

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from threadpoolctl import threadpool_info

from soundscene.audio.files import gate_array
from soundscene.audio.pcm import Arrival
from soundscene.errors import AudioError, SceneError
from soundscene.live import Listener, Update, array_arrivals, listen, warm_up
from soundscene.predictor import Predictor
from soundscene.render.corpus import render_recording
from soundscene.scoring.fusion import product, temper
from soundscene.scoring.unfamiliarity import Familiarity
from soundscene.signal.frontend import FrontEnd
from soundscene.threads import one_blas_thread
from tests.support.tiny import RATE, TINY, blank_bundle, only

PREDICTOR = Predictor(blank_bundle())
SHORT_MODEL = blank_bundle(TINY.with_settings(["audio.segment_s=0.5"]))  # four times as many segments of a sound
SHORT = Predictor(SHORT_MODEL)
TOLERANCE = 1e-5  # of a probability: the network sums in another order for one segment than for 64


@cache
def _rendered(rate: int) -> np.ndarray:
    return render_recording("rain", 8.0, rate, np.random.default_rng(0))


def sound(seconds: float, rate: int) -> np.ndarray:
    """The same sound at any rate, up to 8 s; a copy."""
    return _rendered(rate)[: round(seconds * rate)].copy()


def cut(samples: np.ndarray, sizes: Iterable[int]) -> Iterator[np.ndarray]:
    """Blocks of these sizes, over and over; samples [sample] or [channel, sample]."""
    at, turn = 0, cycle(sizes)
    while at < samples.shape[-1]:
        n = next(turn)
        yield samples[..., at : at + n]
        at += n


def same(some: list[Update], others: list[Update]) -> None:
    """All that does not depend on the clock or on how the sound was cut, bit for bit."""
    assert len(some) == len(others) > 0
    for one, other in zip(some, others, strict=True):
        assert (one.start_s, one.end_s, one.n_segments, one.silent, one.lost_s) == (
            (other.start_s, other.end_s, other.n_segments, other.silent, other.lost_s)
        )
        np.testing.assert_array_equal(one.segment_posterior, other.segment_posterior)
        np.testing.assert_array_equal(one.posterior, other.posterior)


def alone(update: Update) -> np.ndarray:
    assert update.segment_posterior is not None
    return update.segment_posterior


def fused(update: Update) -> np.ndarray:
    assert update.posterior is not None
    return update.posterior


# --- the answers of a file --------------------------------------------------------------------------------------------


@pytest.mark.parametrize("rate", [8000, 22050, 44100, 48000])
@pytest.mark.parametrize("head", ["svm", "softmax"])
@pytest.mark.filterwarnings("ignore:array. sampled at 8000 Hz")
def test_segments_and_the_prediction_are_those_of_predict(rate: int, head: str) -> None:
    predictor = Predictor(SHORT.model, head)  # type: ignore[arg-type]
    samples = sound(3.3, rate)
    offline = predictor.predict((samples, rate))
    live = list(predictor.stream(cut(samples, [480]), rate, window_s=60.0))
    assert [u.start_s for u in live] == [s.start_s for s in offline.segments]
    assert len(live) == 7  # 0.3 s are more than half a segment: the last piece
    for update, segment in zip(live, offline.segments, strict=True):
        np.testing.assert_allclose(alone(update), segment.posterior, rtol=0, atol=TOLERANCE)
    np.testing.assert_allclose(fused(live[-1]), offline.posterior, rtol=0, atol=TOLERANCE)
    assert live[-1].scene == offline.scene
    assert live[-1].probability == pytest.approx(offline.probability, abs=TOLERANCE)


def test_images_are_those_of_a_file_bit_for_bit() -> None:
    """The network given the file's images one by one gives the live answers to the last bit."""
    bundle = SHORT_MODEL
    samples = sound(3.3, 48000)
    front_end = FrontEnd(bundle.audio, only(bundle).recipe.features)
    with one_blas_thread():  # as in `listen`; with two threads a product rounds differently
        images = front_end(gate_array(samples, 48000, bundle.audio)).images
    rows = [np.exp(bundle.classify(bundle.embed((one[None],)), SHORT.head))[0] for one in images]
    live = list(SHORT.stream(cut(samples, [1000, 7]), 48000))
    np.testing.assert_array_equal([alone(u) for u in live], rows)


@given(st.lists(st.sampled_from([0, 1, 2, 63, 480, 1000, 9999]), min_size=1, max_size=8), st.booleans())
@settings(max_examples=15, deadline=None)
def test_no_cut_changes_a_bit(sizes: list[int], resampled: bool) -> None:
    rate = 32000 if resampled else RATE
    samples = sound(1.2, rate)
    # a longer block after the tiny ones, which are slow under the type checks of the tests
    same(list(SHORT.stream(cut(samples, [*sizes, 3001]), rate, 0.25)), list(SHORT.stream([samples], rate, 0.25)))


def test_one_sample_at_a_time_in_two_channels() -> None:
    samples = np.stack([sound(0.7, 8000), sound(1.4, 8000)[-5600:]])
    same(list(SHORT.stream(cut(samples, [1]), 8000)), list(SHORT.stream([samples], 8000)))


def test_a_block_of_many_seconds_is_cut() -> None:
    samples = sound(6.2, RATE)
    same(list(SHORT.stream([samples], RATE)), list(SHORT.stream(cut(samples, [500]), RATE)))


def test_integers_and_channels_are_taken_as_by_predict() -> None:
    integers = (sound(1.2, RATE) * 32767).astype(np.int16)
    same(list(SHORT.stream(cut(integers, [700]), RATE)), list(SHORT.stream([integers / np.float32(32768)], RATE)))
    two = np.stack([integers, integers[::-1]])
    offline = SHORT.predict((two, RATE))
    for update, segment in zip(SHORT.stream(cut(two, [700]), RATE), offline.segments, strict=True):
        np.testing.assert_allclose(alone(update), segment.posterior, rtol=0, atol=TOLERANCE)


# --- the window -------------------------------------------------------------------------------------------------------


def test_the_window_holds_the_last_segments_and_forgets_the_rest() -> None:
    live = list(SHORT.stream(cut(sound(5.0, RATE), [4410]), RATE, window_s=1.5))
    assert [u.n_segments for u in live] == [1, 2, 3, 3, 3, 3, 3, 3, 3, 3]
    logs = np.log([alone(u) for u in live])
    for i, update in enumerate(live):
        expected = np.exp(temper(product(logs[max(0, i - 2) : i + 1]), SHORT.model.temperature[SHORT.head]))
        np.testing.assert_allclose(fused(update), expected, rtol=1e-12)


def test_overlapping_segments_count_as_much_as_they_are_new() -> None:
    samples = sound(4.0, RATE)
    live = list(SHORT.stream([samples], RATE, hop_s=0.12, window_s=2.0))
    assert [u.start_s for u in live] == pytest.approx((0.12 * np.arange(30)).tolist())
    assert live[-1].n_segments == 13  # starts from 2.04 to 3.48 s, because the window reaches from 1.98 to 3.98 s
    logs = np.log([alone(u) for u in live[-13:]]).sum(axis=0)
    expected = logs * 0.12 / 0.5 / SHORT.model.temperature[SHORT.head]  # of each 0.5 s, 0.12 s are new
    np.testing.assert_allclose(fused(live[-1]), np.exp(expected) / np.exp(expected).sum(), rtol=1e-9)


def test_a_hop_longer_than_a_segment_leaves_sound_out() -> None:
    samples = sound(4.0, RATE)
    dense = {u.start_s: alone(u) for u in SHORT.stream([samples], RATE)}
    sparse = list(SHORT.stream([samples], RATE, hop_s=1.5))
    assert [u.start_s for u in sparse] == [0.0, 1.5, 3.0]
    for update in sparse:
        np.testing.assert_array_equal(alone(update), dense[update.start_s])
    logs = np.log([alone(u) for u in sparse[:3]])
    np.testing.assert_allclose(fused(sparse[2]), np.exp(temper(product(logs), SHORT.model.temperature[SHORT.head])), 1e-9)


@pytest.mark.parametrize(
    ("hop_s", "window_s", "message"),
    [
        (0.0, 30.0, "a hop of 0 s: allowed are 0.01 s to 3600 s"),
        (float("nan"), 30.0, "a hop of nan s"),
        (2.0, 1.9, "a window of 1.9 s: allowed are 2 s to 3600 s"),
        (2.0, float("inf"), "a window of inf s"),
    ],
)
def test_hops_and_windows_that_cannot_be_are_refused_at_once(hop_s: float, window_s: float, message: str) -> None:
    with pytest.raises(SceneError, match=message):
        PREDICTOR.stream([], RATE, hop_s, window_s)


# --- streams are no recordings ----------------------------------------------------------------------------------------


def test_silence_gives_updates_without_a_vote_and_empties_the_window() -> None:
    nothing, heard = np.zeros(RATE, np.float32), sound(1.0, RATE)
    live = list(SHORT.stream([nothing, heard, nothing, nothing], RATE, window_s=1.5))
    assert [u.silent for u in live] == [True, True, False, False, True, True, True, True]
    assert [u.n_segments for u in live] == [0, 0, 1, 2, 2, 1, 0, 0]
    assert [u.scene is None for u in live] == [n == 0 for n in (0, 0, 1, 2, 2, 1, 0, 0)]
    assert live[0].probability is None
    assert live[0].top(3) == []
    assert live[4].segment_posterior is None
    np.testing.assert_array_equal(fused(live[4]), fused(live[3]))  # what stands, stands
    np.testing.assert_allclose(
        fused(live[5]), np.exp(temper(np.log(alone(live[3])), SHORT.model.temperature[SHORT.head])), rtol=1e-12
    )


def test_short_empty_and_silent_streams_are_no_errors() -> None:
    assert list(SHORT.stream([], RATE)) == []
    assert list(SHORT.stream([np.zeros(0), np.zeros((2, 0))[:, :0]][:1], RATE)) == []
    assert list(SHORT.stream([sound(0.4, RATE)], RATE)) == []
    assert [u.scene for u in SHORT.stream([np.zeros(RATE)], RATE)] == [None, None]


def test_unfamiliarity_is_the_mean_over_the_window_and_that_of_predict() -> None:
    held = np.linspace(0.0, 1e6, 40)  # 95 % of 40: the 39th
    bundle = replace(SHORT_MODEL, familiarity=Familiarity("energy", held))
    samples = sound(2.0, RATE)
    live = list(Predictor(bundle).stream([samples], RATE, window_s=1.0))
    segments = bundle.unfamiliarity(bundle.embed((FrontEnd(bundle.audio, only(bundle).recipe.features)(samples).images,)))
    for i, update in enumerate(live):
        assert update.unfamiliarity == pytest.approx(segments[max(0, i - 1) : i + 1].mean(), rel=1e-5)
        assert (update.unfamiliarity_threshold, update.unknown) == (held[38], False)
    whole = list(Predictor(bundle).stream([samples], RATE, window_s=60.0))[-1]
    assert whole.unfamiliarity == pytest.approx(Predictor(bundle).predict((samples, RATE)).unfamiliarity, rel=1e-5)
    strange = list(Predictor(replace(bundle, familiarity=Familiarity("energy", held - 2e6))).stream([samples], RATE))
    assert [update.unknown for update in strange] == [True] * 4
    loose = next(iter(Predictor(bundle, keep=0.5).stream([samples], RATE)))
    assert loose.unfamiliarity_threshold == held[20]  # the 21st: ceil(41 / 2)
    assert all(update.unfamiliarity is None for update in SHORT.stream([samples], RATE))


def test_top_names_the_best_first() -> None:
    update = next(iter(SHORT.stream([sound(1.0, RATE)], RATE)))
    found = update.top(2)
    assert [p for _, p in found] == sorted(fused(update), reverse=True)[:2]
    assert found[0] == (update.scene, update.probability)


def test_samples_that_are_not_finite_end_the_stream_by_name_and_time() -> None:
    samples = sound(1.0, RATE)
    samples[11025] = np.nan
    with pytest.raises(AudioError, match=r"stream: holds nan at 0\.500 s \(channel 1\)"):
        list(SHORT.stream(cut(samples, [100]), RATE))


@pytest.mark.parametrize(
    ("blocks", "message"),
    [
        ([np.zeros((2, 3, 4))], r"a block of shape \(2, 3, 4\)"),
        ([np.zeros((480, 2))], r"looks like \[sample, channel\]"),
        ([np.zeros((1, 9)), np.zeros((2, 9))], "after blocks of 1 channel"),
        ([np.zeros(4, np.int64)], "type int64"),
        ([np.zeros((0, 4))], "no channel"),
    ],
)
def test_blocks_that_are_not_understood(blocks: list[np.ndarray], message: str) -> None:
    with pytest.raises(AudioError, match=message) as refusal:
        list(SHORT.stream(blocks, RATE))
    assert "\n" not in str(refusal.value)


def test_rates_that_cannot_be() -> None:
    with pytest.raises(AudioError, match="48 Hz is not plausible"):
        SHORT.stream([], 48)


def test_notes_come_once_they_are_known_and_do_not_change_with_every_peak() -> None:
    samples = sound(4.0, 16000)
    samples[16000:] *= np.linspace(1, 3, 48000, dtype=np.float32) / np.abs(samples[16000:]).max()
    live = list(SHORT.stream(cut(samples, [160]), 16000))
    assert all("sampled at 16000 Hz, below the recipe's 22050 Hz" in u.notes[0] for u in live)
    assert live[0].notes[1:] == ()
    assert len({u.notes for u in live}) == 2
    assert live[-1].notes[1].startswith("peak 1.")


# --- what is lost -----------------------------------------------------------------------------------------------------


def test_lost_sound_stays_on_the_clock_and_does_not_vote() -> None:
    heard = sound(1.0, RATE)[:, None]
    arrivals = [Arrival(heard, 0.0), Arrival(heard, 0.0, n_lost=4410), Arrival(heard[:4410], 0.0, n_lost=13230)]
    live = list(listen(Listener(SHORT.model, SHORT.head, RATE), arrivals))
    assert [u.start_s for u in live] == [0.0, 0.5, 1.0, 1.5, 2.0, 2.5]
    assert [u.lost_s for u in live] == pytest.approx([0, 0, 0.2, 0, 0.3, 0.3])
    assert [u.segment_posterior is None for u in live] == [False, False, True, False, True, True]
    assert [u.n_segments for u in live] == [1, 2, 2, 3, 3, 3]
    assert not any(u.silent for u in live)


def test_losses_that_touch_are_added_up() -> None:
    listener = Listener(SHORT.model, SHORT.head, RATE)
    heard = sound(1.0, RATE)[:, None]
    found = listener.push(heard[:2205]) + listener.lose(0) + listener.lose(2205) + listener.lose(4410)
    found += listener.push(heard)
    assert found[0].lost_s == pytest.approx(0.3)
    assert listener.heard_s == pytest.approx(1.4)


# --- time, memory, threads --------------------------------------------------------------------------------------------


def test_latency_counts_from_the_arrival_and_delay_adds_what_was_waited_for() -> None:
    listener = Listener(PREDICTOR.model, PREDICTOR.head, RATE)
    heard = sound(2.5, RATE)[:, None]
    began = time.perf_counter()
    (update,) = listener.push(heard, arrived=began - 5.0)
    assert 5.0 < update.latency_s < 5.0 + time.perf_counter() - began
    assert update.heard_s == pytest.approx(2.5)
    assert update.delay_s == pytest.approx(0.5 + update.latency_s)


@pytest.mark.parametrize(("rate", "at_least", "at_most"), [(RATE, 0.015, 0.036), (48000, 0.03, 0.075), (8000, 0.03, 0.15)])
def test_a_prediction_waits_for_no_more_sound_than_documented(rate: int, at_least: float, at_most: float) -> None:
    live = [*SHORT.stream(cut(sound(2.7, rate), [rate // 1000]), rate)]
    waits = [u.heard_s - u.end_s for u in live[:-1]]
    assert min(waits) >= at_least
    assert max(waits) <= at_most


@pytest.mark.slow
def test_memory_does_not_grow() -> None:
    minute = sound(5.0, RATE)
    held = []

    def forever() -> Iterator[np.ndarray]:
        for _ in range(12):
            gc.collect()  # PyTorch's functions leave cycles, which go when Python looks for them
            held.append(tracemalloc.get_traced_memory()[0])
            yield from cut(minute, [2205])

    tracemalloc.start()
    try:
        n = sum(1 for _ in SHORT.stream(forever(), RATE, window_s=4.0))
    finally:
        tracemalloc.stop()
    assert n == 12 * 10
    assert held[-1] - held[2] < 21_000  # one update and its row kept for each answer would be 90 times 700 bytes


def test_blas_has_one_thread_while_listening_and_gets_the_others_back() -> None:
    def threads() -> list[int]:
        return [pool["num_threads"] for pool in threadpool_info() if pool["user_api"] == "blas"]

    before = threads()
    arrivals = array_arrivals([sound(1.2, RATE)])
    with closing(listen(Listener(SHORT.model, SHORT.head, RATE), arrivals)) as updates:
        next(updates)
        assert set(threads()) == {1}
    assert threads() == before


def test_warming_up_takes_any_rate_and_leaves_nothing() -> None:
    warm_up(SHORT.model, SHORT.head, 8000)
