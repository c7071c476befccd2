"""Rows about frozen backbones: what a second of sound costs, from samples to posteriors."""

from collections.abc import Callable
from dataclasses import replace
from functools import cache

import numpy as np
import torch

from benchmarks.comparison import Comparison, Measured, Settings, Times, alternate
from benchmarks.speed_network import N_SCENES, random_bundle
from soundscene.model import Model
from soundscene.network.svm import CalibratedSVM, linear
from soundscene.network.yamnet import FILTERS
from soundscene.signal.streams import join_segments
from soundscene.systems.backbone import untrained_member
from soundscene.systems.transfer import at_rate_of
from tests.support.yamnet import small


def random_models(settings: Settings) -> tuple[Model, Model, Model]:
    """YAMNet at its width and rate, Att-CRNN of the recipe, and both in one model; weights are random, scenes 19."""
    network = random_bundle(settings.recipe)
    stored = small(0, FILTERS)
    recipe = settings.recipe.with_settings(["calibration.head=softmax"])
    members = [untrained_member("yamnet", one, stored) for one in (at_rate_of(recipe, stored), recipe)]
    heads = {"svm": CalibratedSVM(members[0].backbone.n_features, N_SCENES)}
    softmax = linear(members[0].backbone.n_features, N_SCENES)
    alone, beside = (replace(member, svm=heads["svm"], softmax=softmax) for member in members)
    return replace(network, members=(alone,)), network, replace(network, members=(*network.members, beside))


def posteriors_of(model: Model, settings: Settings) -> Callable[[], np.ndarray]:
    """The whole way of a recording that is decoded already: front-end, embeddings, softmax layer."""
    samples = np.random.default_rng(0).normal(0, 0.05, round(settings.seconds * model.audio.sample_rate))
    front_end, sound = model.build_front_end(), samples.astype(np.float32)

    def predict() -> np.ndarray:
        stream = front_end.stream()
        segments = join_segments([stream.push(sound), stream.flush()])
        return model.classify(model.embed(segments.features), "softmax")

    return predict


@cache
def _times(settings: Settings) -> Times:
    torch.manual_seed(0)
    names = ("yamnet", "att-crnn", "both")
    ways = {n: posteriors_of(model, settings) for n, model in zip(names, random_models(settings), strict=True)}
    return alternate(ways, settings.repetitions)


def _against(name: str, settings: Settings) -> Measured:
    times = _times(settings)
    note = f"{settings.seconds:g} s of sound; {settings.seconds / times[name]:.0f} s of sound/s"
    return Measured(times[name] / settings.seconds, times["att-crnn"] / settings.seconds, times.n, note)


COMPARISONS = {
    "backbone": (
        Comparison(
            "a second of sound, YAMNet", "Att-CRNN, full width", "times the cost", 1.2, lambda s: _against("yamnet", s)
        ),
        Comparison(
            "a second of sound, both in one model", "Att-CRNN alone", "times the cost", None, lambda s: _against("both", s)
        ),
    ),
}
