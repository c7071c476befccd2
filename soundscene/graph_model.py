"""A model that was exported as a graph in ONNX: it predicts like `model.Model`, by ONNX Runtime and without PyTorch.

The graph takes samples and gives posteriors (`soundscene export`), so the front-end is inside. Its metadata say the rest.
"""

import json
from collections.abc import Callable, Mapping, Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
from jaxtyping import Float32, Float64

from soundscene.errors import BundleError, RecipeError
from soundscene.extras import require
from soundscene.files import check_permission, url_hint
from soundscene.graph_facts import FORMAT, GIVEN, HEADS, STATEFUL, VERSION, GraphFacts
from soundscene.onnx_runtime import import_onnxruntime
from soundscene.recipe import FRONT_END
from soundscene.signal.streams import AFTER_SILENCE_NOTE, FeatureSource, check_finite, join_segments
from soundscene.texts import LONGEST, short
from soundscene.types import Features, Head, LogPosterior, Samples, SegmentFeatures

T = TypeVar("T")

SUFFIX = ".onnx"
AT_ONCE = 8  # segments computed at once of a recording: more take memory, fewer time
_LARGEST_FILE = 1 << 30  # bytes
_STATE, _NEXT = "state_", "next_"  # names of inputs and outputs


class GraphModel:
    """An exported model, for `Predictor`, `Listener` and `timeline`.

    Its "features" are the outputs of the graph, one row a segment: the log posteriors of both heads, the unfamiliarity,
    and the embeddings of the members.

    Args:
        facts: Its metadata.
        session: An InferenceSession of ONNX Runtime.
        compiled: Whether the compiled front-end makes the images, in place of the graph's; then they are the features.
    """

    def __init__(self, facts: GraphFacts, session: Any, compiled: bool = False) -> None:
        self.facts, self.compiled = facts, compiled
        self.scenes, self.audio = facts.scenes, facts.audio
        self.head: Head = facts.head
        self.temperature, self.front_end = facts.temperature, facts.front_end
        self.familiarity, self.usual = facts.familiarity, facts.usual
        self.member_names = tuple(facts.recipes)
        self.session = session
        shapes = {o.name: o.shape for o in session.get_outputs()}
        self.sizes = [int(shapes.get(f"embedding/{name}", [0, 0])[1]) for name in self.member_names]
        self.state = {i.name: i for i in session.get_inputs() if i.name.startswith(_STATE)}

    def build_front_end(self, segment_hop_s: float | None = None, version: int = FRONT_END) -> FeatureSource:
        """Return what computes the outputs of a recording's segments.

        Args:
            segment_hop_s: Seconds between starts of segments; by default their length, and then up to `AT_ONCE` segments are
                held back, to be computed together.
            version: Of the front-end; a graph has the current one only.

        Raises:
            RecipeError: Another version, or a hop of less than one sample.
        """
        if self.compiled:
            from soundscene.signal.frontend import FrontEnd  # numba, which one recording needs not

            return FrontEnd(self.audio, [recipe.features for recipe in self.facts.recipes.values()], segment_hop_s, version)
        if version != FRONT_END:
            raise RecipeError(
                f"an exported model computes front-end {FRONT_END}, not {version}; finish this folder with the model file"
            )
        size = self.audio.segment_samples
        hop = size if segment_hop_s is None else round(segment_hop_s * self.audio.sample_rate)
        if hop < 1:
            raise RecipeError(
                f"segments every {segment_hop_s} s: must be at least one sample at {self.audio.sample_rate} Hz"
            )
        return GraphSource(self, hop, AT_ONCE * size if segment_hop_s is None else 0)

    def embed(self, features: Features) -> Features:
        """Return the outputs of the graph for segments: the features themselves, or computed from images.

        Raises:
            BundleError: ONNX Runtime cannot compute it.
        """
        if not self.compiled:
            return features
        images = {f"{GIVEN}images/{name}": x for name, x in zip(self.member_names, features, strict=True)}
        none = np.zeros(0, np.float32)
        outputs, _ = run_block(self, initial_state(self.session), none, False, self.audio.segment_samples, given=images)
        return (rows_of(outputs[2:]),)

    def embeddings_of(self, embeddings: Features) -> tuple[Float32[np.ndarray, "segment _"], ...]:
        """Return the embeddings of each member.

        Args:
            embeddings: Outputs of segments.
        """
        first = 2 * len(self.scenes) + bool(self.familiarity)
        ends = np.cumsum([0, *self.sizes]) + first
        rows = embeddings[0]
        return tuple(rows[:, a:b].astype(np.float32) for a, b in pairwise(ends.tolist()))

    def classify(self, embeddings: Features, head: Head) -> LogPosterior:
        """Return the log posterior [segment, scene] of a head.

        Args:
            embeddings: Outputs of segments.
            head: "softmax" or "svm".

        Raises:
            BundleError: It is not a number.
        """
        n, at = len(self.scenes), HEADS.index(head)
        rows = embeddings[0][:, n * at : n * (at + 1)].astype(np.float64)
        if np.isnan(rows).any():
            raise BundleError("the model computes no finite posterior, because its weights are too large; retrain the model")
        return rows

    def unfamiliarity(self, embeddings: Features) -> Float64[np.ndarray, " segment"]:
        """Return how unlike the training each segment is."""
        return embeddings[0][:, 2 * len(self.scenes)].astype(np.float64)

    def lacking(self, head: Head) -> str | None:
        """Return None: every exported member has both heads."""
        return None

    def training_prior(self, head: Head) -> Float64[np.ndarray, " scene"]:
        """Return the prior of each scene that the posteriors of a head hold."""
        return np.array(self.facts.prior[head])

    def for_many(self) -> "GraphModel":
        """Return the same model for many recordings: with the compiled front-end, which takes a second to load.

        Posteriors differ by rounding only, 1e-5 at most. A graph that does not take images, as one with a backbone, is
        returned as it is.
        """
        given = {one.name for one in self.session.get_overridable_initializers()}
        takes_images = given.issuperset(f"{GIVEN}images/{name}" for name in self.member_names)
        return GraphModel(self.facts, self.session, compiled=True) if takes_images and not self.compiled else self

    @property
    def outputs(self) -> list[str]:
        """Names of the outputs of each segment that predictions need."""
        names = ["start_s", "silent", *(f"log_posterior_{head}" for head in HEADS)]
        names += ["unfamiliarity"] if self.familiarity else []
        return [*names, *(f"embedding/{name}" for name in self.member_names)]


class GraphSource:
    """Makes a stream for each recording.

    Args:
        model: The model.
        hop: Samples from one segment's start to the next.
        hold: Samples that wait to be computed together.
        details: Names of further outputs of each segment, such as "images/att-crnn-mel"; a stream gives them as features
            behind the first.
    """

    def __init__(self, model: GraphModel, hop: int, hold: int, details: tuple[str, ...] = ()) -> None:
        self.model, self.hop, self.hold, self.details = model, hop, hold, details

    def stream(self) -> "GraphStream":
        """Return a new stream for one recording."""
        return GraphStream(self)


class GraphStream:
    """Run a stateful graph over one recording, in constant memory.

    How it is cut into blocks changes results by rounding only, 1e-6 of a probability.

    Args:
        source: Model and grid of segments.
    """

    def __init__(self, source: GraphSource) -> None:
        self._source, self._model = source, source.model
        self._state = initial_state(self._model.session)
        self._waiting: list[Samples] = []
        self._n_waiting = self._n = 0
        # The least that completes a segment: with fewer new samples the graph is not asked. One noise frame looks ahead.
        self._missing = self._model.audio.segment_samples
        self._flushed = False
        width = 2 * len(self._model.scenes) + bool(self._model.familiarity) + sum(self._model.sizes)
        shapes = {o.name: o.shape[1:] for o in self._model.session.get_outputs()} if source.details else {}
        details = (np.zeros((0, *shapes[name]), np.float32) for name in source.details)
        self._nothing = SegmentFeatures((np.zeros((0, width)), *details), np.zeros(0), np.zeros(0, np.bool_))

    def push(self, samples: Samples) -> SegmentFeatures:
        """Return the outputs of the segments that these samples complete, unless they are held back.

        Raises:
            AudioError: A sample is not finite.
        """
        self._open()
        check_finite(samples, self._n, self._model.audio.sample_rate)
        pieces = []
        step = self._source.hold or len(samples) or 1
        for at in range(0, len(samples), step):
            self._wait(samples[at : at + step])
            if self._n_waiting >= max(self._source.hold, self._missing):
                pieces.append(self._run(False))
        return join_segments(pieces) if pieces else self._nothing

    def flush(self) -> SegmentFeatures:
        """Return the outputs of the rest, the last segment among them."""
        self._open()
        self._flushed = True
        return self._run(True)

    def notes(self, trained_with: int) -> tuple[str, ...]:
        """Return the note of a model of soundscene 0.1 where sound follows digital silence, see `FrontEndStream.notes`.

        Args:
            trained_with: Version of the front-end that made the model's training images.
        """
        after_silence = bool(self._state[f"{_STATE}counts"][2])
        return (AFTER_SILENCE_NOTE,) if trained_with < 2 and after_silence else ()

    def _wait(self, samples: Samples) -> None:
        self._waiting.append(np.array(samples, np.float32))
        self._n_waiting += len(samples)
        self._n += len(samples)

    def _run(self, last: bool) -> SegmentFeatures:
        samples = np.concatenate([np.zeros(0, np.float32), *self._waiting])
        self._waiting, self._n_waiting = [], 0
        names = [*self._model.outputs, *self._source.details]
        outputs, self._state = run_block(self._model, self._state, samples, last, self._source.hop, names)
        following = int(self._state[f"{_STATE}counts"][4])
        self._missing = max(1, following + self._model.audio.segment_samples - self._n)
        starts, silent, *values = outputs[: len(self._model.outputs)]
        return SegmentFeatures((rows_of(values), *outputs[len(self._model.outputs) :]), starts, silent)

    def _open(self) -> None:
        if self._flushed:
            raise RuntimeError("this stream was flushed; take a new one from GraphSource.stream() for each recording")


def rows_of(values: Sequence[np.ndarray]) -> np.ndarray:
    """Return outputs of segments side by side, [segment, output]."""
    return np.concatenate([v if v.ndim == 2 else v[:, None] for v in values], axis=1)


def initial_state(session: Any) -> dict[str, np.ndarray]:
    """Return the state before a recording: zeros, and nothing where the size of an axis is a name.

    Args:
        session: Of a stateful graph.
    """
    types = {"tensor(float)": np.float32, "tensor(double)": np.float64, "tensor(int64)": np.int64}
    return {
        i.name: np.zeros([size if isinstance(size, int) else 0 for size in i.shape], types[i.type])
        for i in session.get_inputs()
        if i.name.startswith(_STATE)
    }


def run_block(
    model: GraphModel,
    state: dict[str, np.ndarray],
    samples: Samples,
    last: bool,
    hop: int,
    names: Sequence[str] | None = None,
    given: Mapping[str, np.ndarray] | None = None,
) -> tuple[list[np.ndarray], dict[str, np.ndarray]]:
    """Run a stateful graph on a block.

    Args:
        model: The model.
        state: From the block before, or `initial_state`.
        samples: Any number.
        last: Whether no samples follow.
        hop: Samples from one segment's start to the next.
        names: Outputs to compute, by default `GraphModel.outputs`.
        given: Images of each member by name of the input, in place of samples.

    Returns:
        The outputs of the segments that are complete, and the state after the block.

    Raises:
        BundleError: ONNX Runtime cannot compute it.
    """
    inputs = {"samples": samples, "last": np.array(last), "hop": np.array(hop, np.int64), **state, **(given or {})}
    names = model.outputs if names is None else names
    after = [_NEXT + name.removeprefix(_STATE) for name in state]
    try:
        values = model.session.run([*names, *after], inputs)
    except Exception as error:  # ONNX Runtime has no public class of its errors
        raise BundleError(f"ONNX Runtime cannot compute the model ({_one_line(error)}); export it again") from None
    return values[: len(names)], dict(zip(state, values[len(names) :], strict=True))


def load_graph(path: Path) -> GraphModel:
    """Read an exported model.

    Args:
        path: File to read.

    Raises:
        BundleError: It is missing, damaged, of another program, of a newer version, or takes whole recordings.
        SceneError: ONNX Runtime is not installed.
    """
    require(f"{path.name}, a model in ONNX,", "onnx")
    check_permission(path, BundleError)
    if not path.is_file():
        what = "is a folder" if path.is_dir() else url_hint(path) or "no such file"
        raise BundleError(f"{path}: {what}; make it by `soundscene export MODEL --out {path.name}`")
    if path.stat().st_size > _LARGEST_FILE:
        raise BundleError(f"{path}: {path.stat().st_size} bytes, allowed are {_LARGEST_FILE}; is it a model of soundscene?")
    session = _attempt(path, lambda: open_session(path.read_bytes()), "ONNX Runtime cannot load it")
    metadata = session.get_modelmeta().custom_metadata_map
    if metadata.get("format") != json.dumps(FORMAT):
        raise BundleError(f"{path}: an ONNX file, but no model of soundscene; `soundscene export` makes one")
    if (version := metadata.get("version", "")) != str(VERSION):
        raise BundleError(
            f"{path}: written in format {short(version)}, this soundscene reads {VERSION}; upgrade soundscene to use it"
        )
    facts = _attempt(path, lambda: GraphFacts.from_metadata(metadata), "its metadata are damaged")
    if facts.form != STATEFUL:
        raise BundleError(f"{path}: takes whole recordings (--whole), for other programs; export it without --whole")
    model = GraphModel(facts, session)
    lacking = {*model.outputs} - {o.name for o in session.get_outputs()}
    if lacking:
        raise BundleError(f"{path}: lacks the outputs {', '.join(sorted(lacking))}; export it again")
    return model


def open_session(content: bytes) -> Any:
    """Load a graph into ONNX Runtime, on one thread: more made every graph of ours slower.

    Args:
        content: The file.
    """
    onnxruntime = import_onnxruntime()
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    options.log_severity_level = 4  # errors are raised
    options.enable_mem_pattern = False  # the sizes differ from call to call
    return onnxruntime.InferenceSession(content, options, providers=["CPUExecutionProvider"])


def _attempt(path: Path, work: Callable[[], T], what: str) -> T:
    try:
        return work()
    except Exception as error:
        raise BundleError(f"{path}: {what} ({_one_line(error)}); copy it or export it again") from None


def _one_line(error: Exception) -> str:
    return " ".join(str(error).split())[:LONGEST] or type(error).__name__
