"""Model files of systems that are no model of members: those of Table 3, such as HOG.

It is the file of `bundle.py` in format 3: a header of JSON (name, options, recipe, scenes, temperatures, and a record of its
features and choices) and tensors, with a checksum, and without pickle. Loading builds the system of that name anew, so the
file names no code. soundscene 0.1 and all that reads members only (explain, embed, serve, export) refuse it in one line;
timeline and listen take what has segments (`segment_model.py`).
"""

import json
import warnings
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, get_args

import numpy as np
from jaxtyping import Float64
from safetensors.torch import save

from soundscene.audio.arrays import as_source, source_name
from soundscene.audio.files import write_array
from soundscene.bundle import FORMAT, SYSTEM_VERSION, read_file
from soundscene.data.corpus import Corpus, reason, refuse_unreadable
from soundscene.data.store import DTYPE, Extract
from soundscene.errors import AudioError, AudioWarning, BundleError, RecipeError, SceneError, unexpected
from soundscene.files import write_atomic
from soundscene.prediction import ScenePrediction, SegmentPrediction
from soundscene.recipe import FRONT_END, Recipe
from soundscene.systems.catalogue import SYSTEMS, SystemSpec, build, spec_of
from soundscene.systems.record import note_on, own_choices, record_of
from soundscene.systems.system import PredictFunction, SavedState, System, SystemPredictions
from soundscene.systems.variants import reads, recipe_read
from soundscene.tensors import digest, known_front_end
from soundscene.texts import check_scenes, short
from soundscene.threads import in_order, one_blas_thread
from soundscene.types import Head, Recording

HASH_DIGITS = 16  # of each training recording, so that an evaluation can detect it
UNKNOWN = "unknown detection unavailable: a model of this system has no score of unfamiliarity"


@dataclass(frozen=True)
class Identity:
    """What a saved system is built from again.

    Attributes:
        name: In the catalogue, a variant's with its settings behind +.
        title: In tables.
        recipe: Its settings applied.
        options: Its own settings, see `OPTIONS` of its module.
        front_end: Version of the front-end of its features.
    """

    name: str
    title: str
    recipe: Recipe
    options: Mapping[str, str] = field(default_factory=dict)
    front_end: int = FRONT_END


@dataclass(frozen=True)
class SavedSystem:
    """A system from a file, which predicts.

    Attributes:
        identity: What it is.
        state: What it has learnt.
        system: Built anew.
        notes: What every prediction of it must be read with.
    """

    identity: Identity
    state: SavedState
    system: System
    notes: tuple[str, ...] = ()

    @property
    def scenes(self) -> tuple[str, ...]:
        """Names in the order of every posterior."""
        return self.state.scenes

    @property
    def head(self) -> Head:
        """Its default classifier."""
        return "svm" if next(iter(self.state.temperature)) == "svm" else "softmax"

    def checked(self, path: Path, head: Head | None) -> "SavedSystem":
        """Return the same with another default head.

        Args:
            path: Its file, for the message.
            head: Classifier; by default the system's own.

        Raises:
            BundleError: It has no such head.
        """
        if head is None:
            return self
        if head not in self.state.temperature:
            raise BundleError(f"{path}: has no head {head}; allowed are {', '.join(self.state.temperature)}")
        order = {head: self.state.temperature[head]} | self.state.temperature
        return replace(self, state=replace(self.state, temperature=order))

    @property
    def n_values(self) -> int:
        """Numbers that it has learnt."""
        return sum(tensor.numel() for tensor in self.state.tensors.values())

    @property
    def why_unknown_unavailable(self) -> str:
        """Why no recording can be unknown."""
        return UNKNOWN

    @property
    def facts(self) -> dict[str, Any]:
        """Everything about it as plain values, for `soundscene info`: of the recipe, what the system reads."""
        spec, options = spec_of(self.identity.name), self.identity.options.items()
        read = reads(spec.module, (*spec.settings, *(f"{key}={value}" for key, value in options)))
        learnt = {key: value for key, value in self.state.facts.items() if key != "trained_on"}
        return {
            "system": self.identity.name,
            "title": self.identity.title,
            "scenes": list(self.scenes),
            "head": self.head,
            "learnt_values": self.n_values,
            "bytes": sum(t.numel() * t.element_size() for t in self.state.tensors.values()),
            "temperature": self.state.temperature,
            "options": dict(self.identity.options),
            "reads": self.system.representation.name,
            **learnt,
            **({"notes_on_features": list(self.notes)} if self.notes else {}),
            "choices": own_choices(self.system),
            "recipe": recipe_read(self.identity.recipe, read),
        }

    def read(self, recording: Recording) -> Corpus:
        """Compute the features of a recording, with the precision of the feature store.

        Args:
            recording: Its scene and group do not count.

        Raises:
            AudioError: The recording cannot be used.
        """
        return corpus_of([recording], [self.system.representation.extract(recording)])

    def read_all(
        self, recordings: Sequence[Recording], workers: int = 1, progress: Callable[[int, int], None] | None = None
    ) -> Corpus:
        """Compute the features of all recordings of a manifest.

        Args:
            recordings: Rows of a manifest.
            workers: Threads.
            progress: Called with (recordings done, recordings in all).

        Raises:
            ManifestError: Some cannot be used, which the message names.
        """
        extracts: list[Extract] = []
        unreadable: list[str] = []
        for done, (recording, found) in enumerate(
            zip(recordings, in_order(self._extract, recordings, workers), strict=True), 1
        ):
            if isinstance(found, Extract):
                extracts.append(found)
            else:
                unreadable.append(reason(recording, found))
            if progress:
                progress(done, len(recordings))
        refuse_unreadable(unreadable, len(recordings))
        return corpus_of(recordings, extracts)

    def _extract(self, recording: Recording) -> "Extract | AudioError":
        try:
            return self.system.representation.extract(recording)
        except AudioError as error:
            return error
        except Exception as error:
            return unexpected(str(recording.path), error)

    @cached_property
    def _restored(self) -> PredictFunction:
        assert self.system.restore is not None
        return self.system.restore(self.state)

    def predict_corpus(self, corpus: Corpus) -> Mapping[str, SystemPredictions]:
        """Predict recordings whose features were read.

        Args:
            corpus: From `read` or `corpus_of`.

        Raises:
            BundleError: What the file holds does not fit together.
        """
        try:
            with one_blas_thread():
                found = self._restored(corpus)
        except (KeyError, IndexError, RuntimeError, TypeError, ValueError) as error:
            reason = " ".join(str(error).split())
            raise BundleError(f"the tensors of the model do not fit together ({short(reason)}); train it again") from None
        if any(np.isnan(one.calibrated).any() for one in found.values()):
            raise BundleError("the model computes no finite posterior, because its weights are too large; train it again")
        return found

    def predict(self, source: Any, warn: bool = False, progress: Callable[[float], None] | None = None) -> ScenePrediction:
        """Predict one recording.

        Args:
            source: Sound file, or samples with their rate, as `audio.arrays.as_source` takes them.
            warn: Whether to warn of the notes of the prediction, as `Predictor.predict` does.
            progress: Called with the seconds of sound that are done, at the end.

        Raises:
            AudioError: The recording cannot be used.
            BundleError: As `predict_corpus` does.
        """
        given, name = as_source(source), source_name(source)
        if isinstance(given, tuple):
            with TemporaryDirectory(prefix="soundscene-") as folder:  # its features are those of a file
                path = write_array(*given, Path(folder) / "array.wav")
                try:
                    found = replace(self._predict(path), source=name)
                except AudioError as error:
                    raise AudioError(str(error).replace(str(path), name)) from None
        else:
            found = self._predict(given)
        for note in found.notes if warn else ():
            warnings.warn(f"{found.source}: {note}", AudioWarning, stacklevel=2)
        if progress:
            progress(found.duration_s)
        return found

    def _predict(self, path: str | Path) -> ScenePrediction:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", AudioWarning)  # its notes say the same
            corpus = self.read(Recording(Path(path), self.scenes[0], str(path)))
        voting = corpus.voting
        if not voting.any():
            raise AudioError(f"{path}: every segment is digital silence; was the microphone connected?")
        found = self.predict_corpus(corpus)[self.head]
        length_s = self.identity.recipe.audio.segment_s
        starts = corpus.start_s[voting] if len(found.segment) else ()
        segments = tuple(
            SegmentPrediction(float(start), float(start) + length_s, np.exp(row))
            for start, row in zip(starts, found.segment, strict=True)
        )
        posterior: Float64[np.ndarray, " scene"] = np.exp(found.calibrated[0])
        return ScenePrediction(
            str(path), corpus.duration_s[0], self.scenes, posterior, segments, (*corpus.notes[0], *self.notes), None, None
        )

    def predict_each(
        self, paths: Iterable[str | Path], workers: int = 1
    ) -> Iterator[tuple[str | Path, ScenePrediction | SceneError]]:
        """Predict any number of files in parallel, in the order given, as `Predictor.predict_each` does.

        Args:
            paths: Files.
            workers: Threads.
        """
        yield from in_order(self._attempt, paths, workers)

    def _attempt(self, path: str | Path) -> tuple[str | Path, ScenePrediction | SceneError]:
        try:
            return path, self._predict(path)
        except SceneError as error:
            return path, error
        except Exception as error:
            return path, unexpected(str(path), error)


def save_system(identity: Identity, state: SavedState, path: Path, facts: Mapping[str, Any] | None = None) -> None:
    """Write a fitted system atomically.

    Args:
        identity: What it is.
        state: What it has learnt.
        path: File to write.
        facts: Of who trained it, to stand beside its own, which win.

    Raises:
        BundleError: The file cannot be written.
    """
    header = {
        "version": SYSTEM_VERSION,
        "system": identity.name,
        "title": identity.title,
        "options": dict(identity.options),
        "recipe": identity.recipe.to_stored(),
        "front_end": identity.front_end,
        "scenes": state.scenes,
        "temperature": state.temperature,
        "head": next(iter(state.temperature)),
        "facts": {**(facts or {}), **state.facts},
        "record": record_of(_built(identity)),
    }
    text = json.dumps(header, sort_keys=True)
    tensors = {name: t.detach().cpu().contiguous() for name, t in state.tensors.items()}
    content = save(tensors, {"format": FORMAT, "bundle": text, "sha256": digest(text, tensors)})
    write_atomic(path, content, BundleError)


def load_system(path: Path) -> SavedSystem:
    """Read a saved system.

    Args:
        path: File to read.

    Raises:
        BundleError: The file is missing, damaged, no model, of a newer version, of a system that is not known here, or of
            one whose features or choices are others here.
    """
    header, tensors = read_file(path, system=True)
    try:
        if header["version"] != SYSTEM_VERSION:
            raise ValueError("a model of members")
        identity = Identity(
            _text(header["system"]),
            _text(header["title"]),
            Recipe.from_stored(header["recipe"]),
            {_text(key): _text(value) for key, value in header["options"].items()},
            known_front_end(header["front_end"]),
        )
        temperature = _temperature(header["temperature"])
        temperature = {header["head"]: temperature[header["head"]]} | temperature
        state = SavedState(check_scenes(header["scenes"]), temperature, tensors, dict(header["facts"]))
        system = _built(identity)
    except KeyError as error:
        raise BundleError(f"{path}: its header lacks {error}; train it again") from None
    except (RecipeError, AttributeError, TypeError, ValueError) as error:
        raise BundleError(
            f"{path}: its header is of no use ({short(' '.join(str(error).split()))}); train it again"
        ) from None
    try:
        note = note_on(header.get("record"), system)
    except (TypeError, ValueError) as error:
        raise BundleError(f"{path}: {error}; train it again with this soundscene") from None
    if faults := [name for name, t in tensors.items() if t.is_floating_point() and t.isnan().any()]:
        raise BundleError(f"{path}: {short(faults[0])} holds values that are not numbers; train it again")
    return SavedSystem(identity, state, system, (note,) if note else ())


def corpus_of(recordings: Sequence[Recording], extracts: Sequence[Extract]) -> Corpus:
    """Join what a representation made of recordings, with the precision of the feature store.

    Args:
        recordings: Rows of a manifest.
        extracts: Of each.
    """
    counts = [len(one.features) for one in extracts]
    return Corpus(
        recordings=tuple(recordings),
        features=np.concatenate([one.features for one in extracts]).astype(DTYPE).astype(np.float32),
        recording=np.repeat(np.arange(len(extracts)), counts),
        start_s=np.concatenate([one.start_s for one in extracts]),
        silent=np.concatenate([one.silent for one in extracts]),
        regular=np.concatenate([one.regular for one in extracts]),
        content_hash=tuple(one.content_hash for one in extracts),
        duration_s=tuple(one.duration_s for one in extracts),
        notes=tuple(one.notes for one in extracts),
    )


def _built(identity: Identity) -> System:
    """Build the system by its name in the catalogue: a file can ask for no other code."""
    plain = identity.name.partition("+")[0]
    if plain not in (spec.name for spec in SYSTEMS):
        raise ValueError(f"system {short(repr(plain))} is not known here; upgrade soundscene")
    spec = spec_of(plain)
    options = tuple(f"{key}={value}" for key, value in identity.options.items())
    system = build(SystemSpec(identity.name, identity.title, spec.module, options), identity.recipe, identity.front_end)
    if system.restore is None:
        raise ValueError(f"system {plain} cannot be loaded from a file")
    return system


def _temperature(stored: Any) -> dict[str, float]:
    if not isinstance(stored, dict) or not stored:
        raise TypeError(f"temperature is {short(repr(stored))}, expected one for each head")
    for head, value in stored.items():
        if head not in get_args(Head) or not isinstance(value, int | float) or not 0 < value < 1e6:
            raise ValueError(f"temperature of {short(repr(head))} is {short(repr(value))}")
    return {head: float(value) for head, value in stored.items()}


def _text(value: Any) -> str:
    if not isinstance(value, str):
        raise TypeError(f"{short(repr(value))} is no text")
    return value
