"""benchmarks/attention_event.py: which frames it takes for the event."""

from dataclasses import replace
from pathlib import Path

import numpy as np

from benchmarks.attention_event import RATE, inside_of
from soundscene.data.corpus import Corpus
from soundscene.member import NetworkMember
from soundscene.model import Model
from soundscene.network.models import build_network
from soundscene.network.svm import CalibratedSVM
from soundscene.recipe import Recipe
from soundscene.types import Recording


def test_inside_are_the_frames_of_the_event_and_one_to_both_sides():
    recipe = Recipe.small()
    network = build_network(recipe, 2)
    member = NetworkMember("one", recipe, network, CalibratedSVM(network.softmax.in_features, 2))
    frame_s = recipe.features.hop / RATE
    events = [(10, 14), (0, 3), (77, 80)]  # first frame, and the one after the last
    recordings = tuple(
        Recording(Path(f"{i}.wav"), "knock", str(i), columns={"onset_s": str(first * frame_s), "end_s": str(last * frame_s)})
        for i, (first, last) in enumerate(events)
    )
    n = len(events)
    nothing = np.zeros(n, bool)
    tested = Corpus(
        recordings=recordings,
        features=np.zeros((n, 2, 64, 80), np.float32),
        recording=np.arange(n),
        start_s=np.zeros(n),
        silent=nothing,
        regular=~nothing,
        content_hash=("",) * n,
        duration_s=(2.0,) * n,
        notes=((),) * n,
    )
    inside = inside_of(tested, Model(("a", "b"), (member,), {"softmax": 1.0}))
    assert [list(np.flatnonzero(row)) for row in inside] == [[9, 10, 11, 12, 13, 14], [0, 1, 2, 3], [76, 77, 78, 79]]
    late = replace(tested, recordings=tuple(replace(r, columns={"onset_s": "0.5", "end_s": "0.75"}) for r in recordings))
    centre = (np.arange(80) + 0.5) * frame_s
    within = (centre > 0.5) & (centre < 0.75)
    for row in inside_of(late, Model(("a", "b"), (member,), {"softmax": 1.0})):
        assert list(np.flatnonzero(row)) == [within.argmax() - 1, *np.flatnonzero(within), np.flatnonzero(within)[-1] + 1]
