"""Scene-LTE + Speech-LTE [36]: label-tree embeddings over scenes and over rendered phones, averaged, linear SVM.

Source: Phan, Hertel, Maass, Koch and Mertins 2016, the abstract, and for the tree the authors' public code (facts, not
code). The abstract does not mention speech: that part follows the abstract of another paper of the authors (Phan, Hertel,
Maass, Mazur and Mertins 2016). Its speech, TIMIT, cannot be shipped, so ours is rendered, which the title says:
docs/decisions/0117-scene-and-speech-trees.md.
"""

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from functools import lru_cache, partial
from typing import Any, Literal

import numpy as np
from jaxtyping import Float32

from soundscene.data.corpus import Corpus
from soundscene.recipe import FRONT_END, Recipe
from soundscene.signal.phones import CATEGORIES, render_phones
from soundscene.systems.low_level import SETS, LowLevelSettings, Stretches, describe_stretches, low_level, stretches_of
from soundscene.systems.pieces import divide_pieces
from soundscene.systems.system import FitContext, Fitted, System
from soundscene.systems.whole import fit_whole, predict_whole, voting_recordings
from soundscene.training.label_tree import UNSAVED, LabelTree, TreeSettings, fit_label_tree, plant

OPTIONS = {"speech": ("rendered", "none")}

_PHONES_SEED = 0  # of the rendered phones: they are learnt once, whatever the seed of a fit
_VALUES = SETS["spectral"]


@dataclass(frozen=True)
class SceneLteSettings:
    """Settings of the trees and of the SVM.

    Attributes:
        speech: Whether a tree over rendered phones stands beside the tree over scenes.
        n_phones: Stretches of each phone.
        tree: Settings of the label trees.
        low_level: Settings of the features.
        c: Values of C to choose from.
        folds: Cross-validation folds of that choice, by group.
    """

    speech: Literal["rendered", "none"] = "rendered"
    n_phones: int = 150
    tree: TreeSettings = field(default_factory=TreeSettings)
    low_level: LowLevelSettings = field(default_factory=LowLevelSettings)
    c: tuple[float, ...] = (1e-4, 1e-3, 1e-2, 1e-1, 1.0)
    folds: int = 3


def system(
    recipe: Recipe, name: str, title: str, front_end: int = FRONT_END, options: Mapping[str, Any] | None = None
) -> System:
    """Make averaged label-tree embeddings and a linear SVM a system for experiments.

    Its model cannot be saved: it holds forests, for which there is no format without pickle.

    Args:
        recipe: `audio` and `calibration` are used, without `svm_c`.
        name: Name in files.
        title: Title in tables.
        front_end: Version of the front-end.
        options: `speech` of the settings.

    Raises:
        RecipeError: The features do not fit the audio.
    """
    choices = SceneLteSettings(**(options or {}))
    facts = recipe.to_stored() | {"scene_lte": asdict(choices)}
    return System(name, title, low_level(recipe, front_end, choices.low_level), facts, partial(_fit, recipe, choices))


def speech_tree(sample_rate: int, choices: SceneLteSettings) -> LabelTree:
    """Fit the tree over rendered phones, which is the same in every fit: its forests are seeded once.

    Args:
        sample_rate: In Hz.
        choices: Settings.
    """
    # JSON, because it must be hashable to be fitted only once a process
    return _speech_tree(sample_rate, json.dumps([choices.n_phones, asdict(choices.tree), asdict(choices.low_level)]))


@lru_cache(2)
def _speech_tree(sample_rate: int, settings: str) -> LabelTree:
    n_phones, tree, described = json.loads(settings)
    low_level_settings = LowLevelSettings(**described)
    waves = render_phones(CATEGORIES, n_phones, low_level_settings.stretch_s, sample_rate, _PHONES_SEED)
    features = np.concatenate(
        [describe_stretches(part, sample_rate, low_level_settings)[:, _VALUES] for part in np.array_split(waves, 32)]
    )
    labels = np.repeat(np.arange(len(CATEGORIES)), n_phones)
    groups = [str(number) for number in range(len(labels))]  # each phone has a speaker of its own
    return plant(features, labels, groups, TreeSettings(**tree), _PHONES_SEED)[0]


def average(embedded: Float32[np.ndarray, "sounding value"], stretches: Stretches) -> Float32[np.ndarray, "recording value"]:
    """Average embeddings over the stretches of each recording that are not silent, in the order of recordings.

    Args:
        embedded: Of the stretches that are not silent.
        stretches: All of them, which tell the recordings. One without sound has zeros.
    """
    recordings, of = np.unique(stretches.recording, return_inverse=True)
    of = of[~stretches.silent]
    total = np.zeros((len(recordings), embedded.shape[1]))
    np.add.at(total, of, embedded)
    n = np.bincount(of, minlength=len(recordings))
    return (total / np.maximum(n, 1)[:, None]).astype(np.float32)


def describe(
    trees: tuple[LabelTree, ...], choices: LowLevelSettings, corpus: Corpus
) -> Float32[np.ndarray, "recording value"]:
    """Describe the recordings that vote: all trees' embeddings of the recorded channel, averaged over time.

    Stretches of digital silence have no part in it.

    Args:
        trees: Over scenes, and over phones if there is one.
        choices: Settings of the features.
        corpus: Low-level features.
    """
    audible = ~corpus.silent & np.isin(corpus.recording, voting_recordings(corpus))
    if not audible.any():
        return np.zeros((0, sum(tree.n_values for tree in trees)), np.float32)
    stretches = stretches_of(corpus, audible, choices)
    features = stretches.features[~stretches.silent, 0, _VALUES]
    return np.concatenate([average(tree.embed(features), stretches) for tree in trees], axis=1)


def _fit(recipe: Recipe, choices: SceneLteSettings, corpus: Corpus, context: FitContext) -> Fitted:
    """Fit trees and SVM to groups that are not held out, with C chosen among them, and the temperature to those that are."""
    parts = divide_pieces(corpus, recipe, context)
    audible = ~parts.kept.silent & np.isin(parts.kept.recording, voting_recordings(parts.kept))
    stretches = stretches_of(parts.kept, audible, choices.low_level)
    features = stretches.features[~stretches.silent, 0, _VALUES]
    recording = stretches.recording[~stretches.silent]
    labels = np.array([parts.scenes.index(r.scene) for r in parts.kept.recordings], np.int64)[recording]
    groups = [parts.kept.recordings[i].group for i in recording]
    tree, crossed, notes = fit_label_tree(features, labels, groups, choices.tree, context.seed, parts.scenes)
    trees, vectors = (tree,), average(crossed, stretches)
    if choices.speech == "rendered":
        speech = speech_tree(recipe.audio.sample_rate, choices)
        trees = (tree, speech)
        # The tree over phones has seen no scene, so that nothing of it must be cross-fitted.
        vectors = np.concatenate([vectors, average(speech.embed(features), stretches)], axis=1)
    described = partial(describe, trees, choices.low_level)
    model, of_fit = fit_whole(parts, vectors, described, recipe, choices.c, choices.folds, context.seed)
    return Fitted(partial(predict_whole, model), held=parts.held.recordings, notes=(*of_fit, *notes, UNSAVED))
