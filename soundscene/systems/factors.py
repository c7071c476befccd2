"""Sparse NMF, convolutive NMF and kernel PCA [38]: what slices of sound are made of, without labels, then a softmax layer.

Source: Bisot, Serizel, Essid and Richard 2016, "Acoustic scene classification with matrix factorization for unsupervised
feature learning": abstract. Projection, pooling, scale and classifier are known from code of two of the authors for a later
work (Bisot and Serizel 2017), not from the cited paper. Known and chosen: docs/decisions/0111-factorisations.md.
"""

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from functools import partial
from importlib.metadata import version

import numpy as np
import torch
from jaxtyping import Float32, Float64

from soundscene.data.corpus import Corpus
from soundscene.data.store import Extract, Representation
from soundscene.recipe import FRONT_END, Recipe
from soundscene.scoring.fusion import fit_temperature, product_by_recording, temper
from soundscene.systems.constant_q import FINE, ConstantQ, hop_samples, magnitudes, slices
from soundscene.systems.saved import Identity, save_system
from soundscene.systems.system import FitContext, Fitted, PredictFunction, SavedState, System, SystemPredictions
from soundscene.systems.whole import Describe, Parts, arrays_of, divide, read_whole, training_facts, voting_recordings
from soundscene.training.convolutive import encode, fit_patches, padded
from soundscene.training.factors import Dictionary, Kernel, Projection, fit_dictionary, fit_projection, sample_by_group
from soundscene.training.logistic import Logistic, fit_logistic
from soundscene.types import Recording, Samples

_VERSION = 1  # of the code that makes slices; another one is another store
_AT_ONCE = 64  # recordings encoded by convolutive NMF at a time

OPTIONS: Mapping[str, tuple[str, ...]] = {
    "method": ("sparse-nmf", "conv-nmf", "kernel-pca"),
    "level": ("relative", "absolute"),
    "penalty": ("on", "off"),
    "patch": ("long", "slice"),
    "kernel": ("rbf", "linear"),
}
"""Which factorisation; whether a recording is divided by its mean; and the plain variant of each factorisation: no sparsity,
patches of one slice, a linear kernel."""


@dataclass(frozen=True)
class FactorSettings:
    """Settings of slices, factorisations and the softmax layer.

    Attributes:
        transform: Of the constant-Q magnitudes.
        slice_s: Length of a slice in seconds.
        compression: Factor inside log(1 + factor x).
        n_atoms: Of sparse NMF.
        alpha: Penalty of sparse NMF.
        visits: Slices that the dictionary looks at, with repetition.
        n_patches: Of convolutive NMF.
        patch_slices: Length of a patch.
        patch_penalty: Of its activations.
        iterations: Updates that learn patches.
        encoding: Updates of the activations of a new recording.
        n_components: Of kernel PCA.
        kernel_rows: Slices that its kernel is evaluated at.
        c: Values of C of the logistic regression to choose from.
        folds: Cross-validation folds of that choice, by training group.
    """

    transform: ConstantQ = FINE
    slice_s: float = 0.5
    compression: float = 10.0
    n_atoms: int = 256
    alpha: float = 0.1
    visits: int = 100_000
    n_patches: int = 128
    patch_slices: int = 4
    patch_penalty: float = 0.1
    iterations: int = 100
    encoding: int = 50
    n_components: int = 512
    kernel_rows: int = 4000
    c: tuple[float, ...] = (1e-2, 1e-1, 1.0, 10.0)
    folds: int = 3


@dataclass(frozen=True)
class FactorModel:
    """A factorisation with the softmax layer on its pooled output, and its temperature."""

    describe: Describe
    softmax: Logistic
    scenes: tuple[str, ...]
    temperature: float = 1.0


def system(
    recipe: Recipe, name: str, title: str, front_end: int = FRONT_END, options: Mapping[str, str] | None = None
) -> System:
    """Make a factorisation with a softmax layer a system for experiments.

    Args:
        recipe: Only `audio` and `calibration` are used, without `svm_c`.
        name: Name in files.
        title: Title in tables.
        front_end: Not used; it reads no noise-subtracted channel.
        options: See `OPTIONS`; by default the first of each.
    """
    chosen = {key: values[0] for key, values in OPTIONS.items()} | dict(options or {})
    settings = FactorSettings()
    if chosen["penalty"] == "off":
        settings = replace(settings, alpha=0.0, patch_penalty=0.0)
    if chosen["patch"] == "slice":
        settings = replace(settings, patch_slices=1)
    facts = {
        "version": _VERSION,
        "sample_rate": recipe.audio.sample_rate,
        "transform": asdict(settings.transform),
        "slice_s": settings.slice_s,
        "compression": settings.compression,
        "level": chosen["level"],
        "librosa": version("librosa"),
    }
    work = partial(_extract, recipe, settings, chosen["level"] == "absolute")
    representation = Representation("slices", json.dumps(facts, sort_keys=True), work)
    stored = recipe.to_stored() | {"factors": {**asdict(settings), **chosen}}
    identity = Identity(name, title, recipe, chosen, front_end)
    restore = partial(_restore, settings, chosen)
    return System(name, title, representation, stored, partial(_fit, identity, settings, chosen), restore)


def slices_of(
    samples: Samples, rate: int, settings: FactorSettings, absolute: bool = False
) -> Float32[np.ndarray, "slice band"]:
    """Return the compressed mean magnitudes of consecutive slices of a recording.

    Args:
        samples: Mono samples.
        rate: Sample rate in Hz.
        settings: Of transform and slices.
        absolute: Keep the level of the recording; by default its mean magnitude becomes one.
    """
    magnitude = magnitudes(samples, rate, settings.transform)
    hop = hop_samples(rate, settings.transform)
    magnitude = magnitude[:, : 1 + len(samples) // hop]  # without what was padded
    mean = 1.0 if absolute else magnitude.mean() or 1.0
    found = slices(magnitude / mean, hop / rate, settings.slice_s)
    return np.log1p(settings.compression * found).astype(np.float32)


def _compute(
    rate: int, settings: FactorSettings, absolute: bool, samples: Samples
) -> tuple[Float32[np.ndarray, "slice band"], Float64[np.ndarray, " slice"]]:
    found = slices_of(samples, rate, settings, absolute)
    return found, settings.slice_s * np.arange(len(found))


def _extract(recipe: Recipe, settings: FactorSettings, absolute: bool, recording: Recording) -> Extract:
    return read_whole(recording, recipe.audio, partial(_compute, recipe.audio.sample_rate, settings, absolute))


def _fit(
    identity: Identity, settings: FactorSettings, chosen: Mapping[str, str], corpus: Corpus, context: FitContext
) -> Fitted:
    """Fit factorisation and softmax layer to groups that are not held out, and the temperature to those that are."""
    parts = divide(corpus, identity.recipe, context)
    of = voting_recordings(parts.kept)
    labels = np.array([parts.scenes.index(r.scene) for r in parts.kept.recordings], np.int64)[of]
    groups = [parts.kept.recordings[i].group for i in of]
    learnt, notes = _factorise(settings, chosen, parts, context.seed)
    describe = _description(settings, chosen, learnt)
    choice = (settings.c, settings.folds, context.seed)
    layer, more = fit_logistic(describe(parts.kept), labels, groups, len(parts.scenes), *choice, names=parts.scenes)
    model = FactorModel(describe, layer, parts.scenes)
    if parts.held.voting.any():
        of_held = _predict(model, parts.held)["softmax"].recording
        model = replace(model, temperature=fit_temperature(of_held, parts.held_truth))
    notes = (*parts.notes, *notes, *more)
    arrays = {f"describe/{name}": array for name, array in learnt.items()}
    arrays |= {"softmax/weight": layer.weight, "softmax/bias": layer.bias}
    tensors = {name: torch.from_numpy(np.array(array)) for name, array in arrays.items()}
    state = SavedState(parts.scenes, {"softmax": model.temperature}, tensors, training_facts(parts, notes))
    return Fitted(
        partial(_predict, model), held=parts.held.recordings, notes=notes, save=partial(save_system, identity, state)
    )


def _restore(settings: FactorSettings, chosen: Mapping[str, str], state: SavedState) -> PredictFunction:
    softmax = Logistic(state.tensors["softmax/weight"].numpy(), state.tensors["softmax/bias"].numpy())
    if softmax.weight.ndim != 2 or (len(softmax.weight), len(softmax.bias)) != (len(state.scenes),) * 2:
        raise ValueError(f"softmax/weight is {softmax.weight.shape} for {len(state.scenes)} scenes")
    describe = _description(settings, chosen, arrays_of(state))
    return partial(_predict, FactorModel(describe, softmax, state.scenes, state.temperature["softmax"]))


def _factorise(
    settings: FactorSettings, chosen: Mapping[str, str], parts: Parts, seed: int
) -> tuple[dict[str, np.ndarray], tuple[str, ...]]:
    """Learn the factorisation from slices of the kept groups, as arrays by name."""
    voting = parts.kept.voting
    rows = parts.kept.features[voting]
    if not len(rows):  # all is silence: the softmax layer refuses it in one line
        return {}, ()
    if chosen["method"] == "sparse-nmf":
        dictionary, notes = fit_dictionary(rows, settings.n_atoms, settings.alpha, settings.visits, seed)
        return {"atoms": dictionary.atoms, "scale": np.array(dictionary.scale)}, notes
    if chosen["method"] == "kernel-pca":
        groups = [group for group, votes in zip(parts.kept.groups(), voting, strict=True) if votes]
        drawn = sample_by_group(groups, settings.kernel_rows, np.random.default_rng(seed))
        found = fit_projection(rows[drawn], settings.n_components, _kernel_of(chosen), seed)
        arrays = {"rows": found.rows, "axes": found.axes, "column_mean": found.column_mean}
        return {**arrays, "gamma": np.array(found.gamma)}, ()
    batch, mask = padded(_by_recording(parts.kept))
    draws = torch.Generator().manual_seed(seed)
    size = (settings.n_patches, settings.patch_slices, settings.patch_penalty, settings.iterations)
    return {"patches": fit_patches(batch, mask, *size, draws).numpy()}, ()


def _description(settings: FactorSettings, chosen: Mapping[str, str], learnt: Mapping[str, np.ndarray]) -> Describe:
    """Return what makes a vector of each recording, of the arrays of a factorisation."""
    if not learnt:
        return _mean_slices
    if chosen["method"] == "sparse-nmf":
        return partial(_mean_codes, Dictionary(learnt["atoms"], float(learnt["scale"]), settings.alpha))
    if chosen["method"] == "kernel-pca":
        shape = (learnt["rows"], learnt["axes"], learnt["column_mean"])
        return partial(_mean_components, Projection(*shape, float(learnt["gamma"]), _kernel_of(chosen)))
    return partial(_mean_activations, torch.from_numpy(learnt["patches"]), settings.patch_penalty, settings.encoding)


def _kernel_of(chosen: Mapping[str, str]) -> Kernel:
    return "linear" if chosen["kernel"] == "linear" else "rbf"


def _by_recording(corpus: Corpus) -> list[Float32[np.ndarray, "_ band"]]:
    """Return the slices of each recording with sound, in time."""
    voting = corpus.voting
    return [corpus.features[voting & (corpus.recording == i)] for i in voting_recordings(corpus)]


def _pooled(corpus: Corpus, rows: Float32[np.ndarray, "slice feature"]) -> Float32[np.ndarray, "recording feature"]:
    """Average rows of voting slices over each recording."""
    number = np.unique(corpus.recording[corpus.voting], return_inverse=True)[1]
    total = np.zeros((int(number.max(initial=-1)) + 1, rows.shape[1]))
    np.add.at(total, number, rows)
    return (total / np.bincount(number, minlength=len(total))[:, None]).astype(np.float32)


def _mean_slices(corpus: Corpus) -> Float32[np.ndarray, "recording feature"]:
    return _pooled(corpus, corpus.features[corpus.voting])


def _mean_codes(dictionary: Dictionary, corpus: Corpus) -> Float32[np.ndarray, "recording feature"]:
    if not corpus.voting.any():
        return np.zeros((0, len(dictionary.atoms)), np.float32)
    return _pooled(corpus, dictionary.encode(corpus.features[corpus.voting]))


def _mean_components(projection: Projection, corpus: Corpus) -> Float32[np.ndarray, "recording feature"]:
    return _pooled(corpus, projection.project(corpus.features[corpus.voting]))


def _mean_activations(
    patches: Float32[torch.Tensor, "patch band lag"], penalty: float, iterations: int, corpus: Corpus
) -> Float32[np.ndarray, "recording feature"]:
    """Return the mean activation of each patch, over the slices of a recording."""
    recordings = _by_recording(corpus)
    rows = [np.zeros((0, len(patches)), np.float32)]
    for start in range(0, len(recordings), _AT_ONCE):
        batch, mask = padded(recordings[start : start + _AT_ONCE])
        active = encode(batch, mask, patches, penalty, iterations)
        rows.append((active.sum(dim=2) / mask.sum(dim=1, keepdim=True)).numpy())
    return np.concatenate(rows)


def _predict(model: FactorModel, corpus: Corpus) -> Mapping[str, SystemPredictions]:
    """Predict recordings as a whole. Digital silence does not vote, so that all scenes are equally probable."""
    log_posterior = model.softmax.log_posterior(model.describe(corpus))
    recording = product_by_recording(log_posterior, voting_recordings(corpus), len(corpus.recordings))
    no_segments, no_recordings = np.zeros((0, len(model.scenes))), np.zeros(0, np.int64)
    return {"softmax": SystemPredictions(no_segments, no_recordings, recording, temper(recording, model.temperature))}
