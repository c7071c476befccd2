"""The decoder against enumeration of all paths, against cases by hand, and against the product rule at its limits."""

from itertools import product as every

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from jaxtyping import Float64
from scipy.special import log_softmax, logsumexp

from soundscene.scoring.decoding import Decoded, OnlineDecoder, StickyScenes, change_probability, decode
from soundscene.scoring.fusion import product, temper

UNIFORM_3 = np.log(np.full(3, 1 / 3))
FOREVER_S = 1e18


def posteriors(seed: int, n_segments: int, n_scenes: int, spread: float = 2.0) -> Float64[np.ndarray, "segment scene"]:
    return log_softmax(spread * np.random.default_rng(seed).normal(size=(n_segments, n_scenes)), axis=1)


def prior(seed: int, n_scenes: int) -> Float64[np.ndarray, " scene"]:
    return log_softmax(np.random.default_rng(seed).normal(size=n_scenes))


def matrix(model: StickyScenes, elapsed_s: float) -> Float64[np.ndarray, "scene scene"]:
    """Transition over a whole number of hops, as the power of one hop's."""
    n = len(model.log_prior)
    stay = 1 - model.hop_s / model.stay_s
    one = np.full((n, n), (1 - stay) / (n - 1))
    np.fill_diagonal(one, stay)
    return np.linalg.matrix_power(one, round(elapsed_s / model.hop_s))


def all_paths(
    log_posterior: Float64[np.ndarray, "segment scene"], start_s: Float64[np.ndarray, " segment"], model: StickyScenes
) -> tuple[list[tuple[int, ...]], Float64[np.ndarray, " path"]]:
    """Every path with its probability given all segments, by the definition and nothing else."""
    likelihood = (np.exp(log_posterior) / np.exp(model.log_prior)) ** (1 / model.temper)
    paths = list(every(range(log_posterior.shape[1]), repeat=len(log_posterior)))
    weight = np.ones(len(paths))
    for i, path in enumerate(paths):
        for t, scene in enumerate(path):
            weight[i] *= likelihood[t, scene]
            if t:
                weight[i] *= matrix(model, start_s[t] - start_s[t - 1])[path[t - 1], scene]
    return paths, weight / weight.sum()


@settings(max_examples=25, deadline=None)
@given(
    seed=st.integers(0, 10_000),
    n_segments=st.integers(1, 4),
    n_scenes=st.integers(2, 4),
    stay_s=st.floats(4.0, 1000.0),
    temperature=st.floats(0.3, 10.0),
    gaps=st.lists(st.integers(1, 4), min_size=3, max_size=3),
)
def test_path_marginals_and_changes_equal_an_enumeration_of_all_paths(
    seed: int, n_segments: int, n_scenes: int, stay_s: float, temperature: float, gaps: list[int]
) -> None:
    model = StickyScenes(prior(seed, n_scenes), stay_s, 2.0, temperature)
    log_posterior = posteriors(seed + 1, n_segments, n_scenes)
    start_s = 2.0 * np.cumsum([0, *gaps[: n_segments - 1]]) + 0.5
    decoded = decode(log_posterior, start_s, model)
    paths, weight = all_paths(log_posterior, start_s, model)
    marginal = np.zeros((n_segments, n_scenes))
    for path, w in zip(paths, weight, strict=True):
        marginal[np.arange(n_segments), path] += w
    np.testing.assert_allclose(np.exp(decoded.log_marginal), marginal, rtol=1e-9, atol=1e-12)
    assert weight[paths.index(tuple(decoded.path))] == pytest.approx(weight.max(), rel=1e-9)
    for boundary in range(1, n_segments):
        for before, after in every(range(1, boundary + 1), range(1, n_segments - boundary + 1)):
            i, j = boundary - before, boundary + after - 1
            both = sum(w for p, w in zip(paths, weight, strict=True) if (p[i], p[j]) == (decoded.path[i], decoded.path[j]))
            assert change_probability(decoded, boundary, before, after) == pytest.approx(both, rel=1e-9)


@settings(max_examples=15, deadline=None)
@given(seed=st.integers(0, 10_000), n_scenes=st.integers(2, 6), stay_s=st.floats(4.0, 1e4), n=st.integers(1, 12))
def test_the_online_decoder_ends_where_the_marginals_end(seed: int, n_scenes: int, stay_s: float, n: int) -> None:
    model = StickyScenes(prior(seed, n_scenes), stay_s, 2.0, 1.7)
    log_posterior = posteriors(seed, n, n_scenes)
    start_s = np.cumsum(np.random.default_rng(seed).choice([0.7, 2.0, 26.0], n))
    online, said = OnlineDecoder(model), np.zeros(0)
    for i in range(n):
        elapsed = None if i and np.isclose(start_s[i] - start_s[i - 1], 2.0) else float(start_s[i] - start_s[max(i - 1, 0)])
        said = online.push(log_posterior[i], elapsed if i else None)
        np.testing.assert_allclose(
            said, decode(log_posterior[: i + 1], start_s[: i + 1], model).log_marginal[-1], rtol=0, atol=1e-9
        )
    before = said.copy()
    said[:] = 7  # the answer belongs to the caller
    online.push(before)
    assert logsumexp(online.push(before)) == pytest.approx(0, abs=1e-12)


def test_two_segments_by_hand() -> None:
    # stay 0.9; posteriors 0.8, 0.2 and 0.3, 0.7; uniform prior: weights of aa, ab, ba, bb
    model = StickyScenes(np.log([0.5, 0.5]), 20.0, 2.0)
    decoded = decode(np.log([[0.8, 0.2], [0.3, 0.7]]), np.array([0.0, 2.0]), model)
    aa, ab, ba, bb = 0.8 * 0.9 * 0.3, 0.8 * 0.1 * 0.7, 0.2 * 0.1 * 0.3, 0.2 * 0.9 * 0.7
    total = aa + ab + ba + bb
    expected = np.array([[aa + ab, ba + bb], [aa + ba, ab + bb]]) / total
    np.testing.assert_allclose(np.exp(decoded.log_marginal), expected, rtol=1e-12)
    assert decoded.path.tolist() == [0, 0]
    assert change_probability(decoded, 1, 1, 1) == pytest.approx(aa / total)  # the path stays, and that is its claim


def test_one_odd_segment_is_outvoted_and_a_run_of_them_is_a_change() -> None:
    model = StickyScenes(UNIFORM_3, 60.0, 2.0)
    start_s = 2.0 * np.arange(20)
    rain, sea = np.log([0.8, 0.1, 0.1]), np.log([0.1, 0.8, 0.1])
    odd = np.tile(rain, (20, 1))
    odd[9] = sea
    assert decode(odd, start_s, model).path.tolist() == [0] * 20
    changed = np.tile(rain, (20, 1))
    changed[8:] = sea
    decoded = decode(changed, start_s, model)
    assert decoded.path.tolist() == [0] * 8 + [1] * 12
    wide, narrow = change_probability(decoded, 8, 3, 3), change_probability(decoded, 8, 1, 1)
    assert 0.7 < narrow < wide < 1
    assert wide > 0.98


def test_a_gap_makes_a_change_cheap() -> None:
    model = StickyScenes(UNIFORM_3, 600.0, 2.0)
    weak = np.log([[0.5, 0.3, 0.2], [0.3, 0.5, 0.2]])
    assert decode(weak, np.array([0.0, 2.0]), model).path.tolist() == [0, 0]
    assert decode(weak, np.array([0.0, 7200.0]), model).path.tolist() == [0, 1]
    alone = decode(weak, np.array([0.0, 1e9]), model).log_marginal  # all is forgotten: each for itself
    np.testing.assert_allclose(alone, weak, atol=1e-12)


def test_rare_scenes_of_the_training_count_for_more() -> None:
    model = StickyScenes(np.log([0.9, 0.1]), 60.0, 2.0)
    decoded = decode(np.log([[0.7, 0.3]]), np.array([0.0]), model)
    np.testing.assert_allclose(np.exp(decoded.log_marginal[0]), [0.7 / 0.9 / (0.7 / 0.9 + 3), 3 / (0.7 / 0.9 + 3)])
    nothing = decode(np.tile(np.log([0.9, 0.1]), (50, 1)), 2.0 * np.arange(50), model)  # what the prior says anyway
    np.testing.assert_allclose(np.exp(nothing.log_marginal), 0.5, atol=1e-12)


# --- limits -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("temperature", [0.5, 1.0, 3.0])
def test_a_scene_that_lasts_forever_is_the_product_rule(temperature: float) -> None:
    log_posterior = posteriors(3, 200, 5, spread=0.3)
    uniform = StickyScenes(np.log(np.full(5, 0.2)), FOREVER_S, 2.0, temperature)
    decoded = decode(log_posterior, 2.0 * np.arange(200), uniform)
    expected = temper(product(log_posterior), temperature)
    np.testing.assert_allclose(decoded.log_marginal, np.tile(expected, (200, 1)), atol=1e-6)
    assert set(decoded.path) == {int(expected.argmax())}


def test_the_shortest_stay_leaves_each_segment_alone() -> None:
    log_posterior, log_prior = posteriors(4, 30, 3), prior(4, 3)
    model = StickyScenes(log_prior, 3.0, 2.0)
    assert model.shortest_stay_s == 3.0
    decoded = decode(log_posterior, 2.0 * np.arange(30), model)
    np.testing.assert_allclose(decoded.log_marginal, log_softmax(log_posterior - log_prior, axis=1), atol=1e-12)
    assert decoded.path.tolist() == (log_posterior - log_prior).argmax(axis=1).tolist()


def test_an_infinite_temperature_ignores_the_segments() -> None:
    model = StickyScenes(prior(5, 4), 60.0, 2.0, 1e12)
    decoded = decode(posteriors(5, 40, 4), 2.0 * np.arange(40), model)
    np.testing.assert_allclose(np.exp(decoded.log_marginal), 0.25, atol=1e-9)
    assert len(set(decoded.path)) == 1  # no reason to change


def test_relabelling_scenes_and_reversing_time_change_nothing_else() -> None:
    log_posterior, log_prior, order = posteriors(6, 50, 4), prior(6, 4), np.array([2, 0, 3, 1])
    start_s = np.cumsum(np.random.default_rng(6).choice([2.0, 10.0], 50))
    decoded = decode(log_posterior, start_s, StickyScenes(log_prior, 30.0, 2.0, 2.0))
    relabelled = decode(log_posterior[:, order], start_s, StickyScenes(log_prior[order], 30.0, 2.0, 2.0))
    np.testing.assert_allclose(relabelled.log_marginal, decoded.log_marginal[:, order], atol=1e-9)
    assert order[relabelled.path].tolist() == decoded.path.tolist()
    mirrored = decode(log_posterior[::-1], -start_s[::-1], StickyScenes(log_prior, 30.0, 2.0, 2.0))
    np.testing.assert_allclose(mirrored.log_marginal[::-1], decoded.log_marginal, atol=1e-9)
    assert mirrored.path[::-1].tolist() == decoded.path.tolist()


def test_ten_hours_neither_underflow_nor_lose_their_changes() -> None:
    truth = np.repeat([3, 0, 7, 1], 4500)
    draws = np.random.default_rng(7)
    scores = draws.normal(size=(18_000, 11))
    scores[np.arange(18_000), truth] += 2
    posterior = log_softmax(30 * scores, axis=1)
    decoded = decode(posterior, 2.0 * np.arange(18_000), StickyScenes(prior(7, 11), 300.0, 2.0, 30.0))
    np.testing.assert_allclose(np.exp(decoded.log_marginal).sum(axis=1), 1, atol=1e-9)
    assert np.isfinite(decoded.log_marginal).all()
    assert np.mean(decoded.path == truth) > 0.999
    assert np.abs(np.flatnonzero(np.diff(decoded.path)) + 1 - [4500, 9000, 13_500]).max() <= 3


def test_an_excluded_scene_stays_excluded_there_only() -> None:
    log_posterior = np.log(np.full((9, 3), 1 / 3))
    log_posterior[4] = [-np.inf, np.log(0.5), np.log(0.5)]
    decoded = decode(log_posterior, 2.0 * np.arange(9), StickyScenes(UNIFORM_3, 20.0, 2.0))
    assert decoded.log_marginal[4, 0] == -np.inf
    four_on = 1 / 3 + 2 / 3 * 0.85**4  # same scene after four hops; one changes with 0.1, memory 1 - 0.1 * 3 / 2
    np.testing.assert_allclose(np.exp(decoded.log_marginal[[0, 8], 0]), (1 - four_on) / 2, rtol=1e-9)
    clash = np.array([[0.0, -np.inf, -np.inf], [-np.inf, 0.0, -np.inf]])
    assert decode(clash, np.array([0.0, 2.0]), StickyScenes(UNIFORM_3, FOREVER_S, 2.0)).path.tolist() == [0, 1]


# --- what is refused --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"log_prior": np.zeros(1)}, "at least two"),
        ({"log_prior": np.log([0.5, 0.4])}, "sum to 1"),
        ({"log_prior": np.array([0.0, -np.inf])}, "finite logs"),
        ({"hop_s": 0.0}, "hop_s and temper"),
        ({"temper": float("nan")}, "hop_s and temper"),
        ({"stay_s": 3.9}, "at least 4"),
        ({"stay_s": float("inf")}, "finite"),
    ],
)
def test_a_model_that_makes_no_sense_is_refused(change: dict[str, object], message: str) -> None:
    values = {"log_prior": np.log([0.5, 0.5]), "stay_s": 60.0, "hop_s": 2.0, "temper": 1.0} | change
    with pytest.raises(ValueError, match=message):
        StickyScenes(*values.values())  # pyright: ignore[reportArgumentType]


@pytest.mark.parametrize(
    ("log_posterior", "start_s", "message"),
    [
        (np.zeros((0, 3)), np.zeros(0), "0 segments"),
        (np.zeros((2, 2)), np.array([0.0, 2.0]), "has 2 scenes, the prior 3"),
        (np.full((2, 3), np.nan), np.array([0.0, 2.0]), "NaN"),
        (np.full((2, 3), -np.inf), np.array([0.0, 2.0]), "excludes every scene"),
        (np.tile(UNIFORM_3, (2, 1)), np.array([2.0, 2.0]), "must increase"),
        (np.tile(UNIFORM_3, (2, 1)), np.array([0.0, np.nan]), "must increase"),
    ],
)
def test_segments_that_make_no_sense_are_refused(
    log_posterior: Float64[np.ndarray, "_ _"], start_s: Float64[np.ndarray, " _"], message: str
) -> None:
    with pytest.raises(ValueError, match=message):
        decode(log_posterior, start_s, StickyScenes(UNIFORM_3, 60.0, 2.0))


def test_a_boundary_outside_and_time_that_stands_still_are_refused() -> None:
    decoded: Decoded = decode(posteriors(0, 4, 3), 2.0 * np.arange(4), StickyScenes(UNIFORM_3, 60.0, 2.0))
    for boundary, before, after in ((0, 1, 1), (2, 3, 1), (2, 1, 3), (2, 0, 1)):
        with pytest.raises(ValueError, match="about boundary"):
            change_probability(decoded, boundary, before, after)
    with pytest.raises(ValueError, match="elapsed_s"):
        OnlineDecoder(decoded.model).push(UNIFORM_3, 0.0)
