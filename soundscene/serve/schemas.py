"""Shapes of the service's JSON, for its OpenAPI description; the values themselves are those of the command line."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Error:
    """Why there is no result.

    Attributes:
        error: One sentence.
        path: Name of the recording, where it is its fault.
    """

    error: str
    path: str | None = None


@dataclass(frozen=True)
class Segment:
    """Posterior of one segment; seconds from the start of the recording."""

    start_s: float
    end_s: float
    posterior: dict[str, float]


@dataclass(frozen=True)
class Prediction:
    """A line of `soundscene predict --format jsonl`; `segments` where they are asked for.

    Attributes:
        path: Name of the recording, as the client gave it.
        duration_s: Its length, seconds.
        scene: Most probable scene; "unknown" where that is asked for and the recording is out-of-distribution.
        probability: Of that scene; null for "unknown".
        posterior: Calibrated probability of each scene.
        unfamiliarity: Larger is less familiar; null if the model has no unknown detection.
        unfamiliarity_threshold: Score above which a recording is out-of-distribution.
        unknown: Whether it is above.
        notes: What may make the prediction worse.
        segments: Of each segment that voted.
    """

    path: str
    duration_s: float
    scene: str
    probability: float | None
    posterior: dict[str, float]
    unfamiliarity: float | None
    unfamiliarity_threshold: float | None
    unknown: bool
    notes: list[str]
    segments: list[Segment] | None = None


@dataclass(frozen=True)
class TimelineSpan:
    """A line of `soundscene timeline --format json`: a stretch of one scene.

    Attributes:
        path: Name of the recording.
        start_s: Its start, seconds.
        end_s: Its end, seconds.
        scene: Its scene.
        probability: Mean over its segments.
        change_probability: Of the change from the span before; null for the first.
        start_time: Always null: the service does not know when a recording began.
        end_time: Always null.
    """

    path: str
    start_s: float
    end_s: float
    scene: str
    probability: float
    change_probability: float | None
    start_time: str | None
    end_time: str | None


@dataclass(frozen=True)
class SceneShare:
    """How long a scene lasts, in seconds and as a share of the time."""

    scene: str
    seconds: float
    share: float


@dataclass(frozen=True)
class ScenesOverTime:
    """Scenes of a recording over time.

    Attributes:
        path: Name of the recording.
        duration_s: Its length, seconds.
        stay_s: Expected stay in a scene, seconds.
        spans: Stretches of one scene, in order of time.
        shares: Time in each scene, the longest first.
        notes: What may make the prediction worse.
    """

    path: str
    duration_s: float
    stay_s: float
    spans: list[TimelineSpan]
    shares: list[SceneShare]
    notes: list[str]


@dataclass(frozen=True)
class MemberEmbedding:
    """What the heads of a member read: a row for each segment that votes, or their mean."""

    name: str
    embedding: list[list[float]]


@dataclass(frozen=True)
class Embedding:
    """Embeddings of a recording.

    Attributes:
        path: Name of the recording.
        per: "recording" or "segment".
        start_s: Start of each segment, seconds; of a recording, of its first.
        members: Of each member of the model.
    """

    path: str
    per: str
    start_s: list[float]
    members: list[MemberEmbedding]


@dataclass(frozen=True)
class LimitFacts:
    """What the service accepts."""

    max_bytes: int
    max_seconds: float
    workers: int
    queue: int
    streams: int


@dataclass(frozen=True)
class ModelFacts:
    """The model that predicts.

    Attributes:
        name: Name of its file.
        sha256: Of its file.
        soundscene: Version of the program.
        engine: "PyTorch" or "ONNX Runtime".
        scenes: Names, in the order of every posterior.
        members: Names of its members.
        head: Classifier that predicts unless a request names another.
        heads: Those that a request can name.
        sample_rate: Of the sound that it reads, Hz; recordings of other rates are resampled.
        segment_s: Length of a segment, seconds.
        temperature: Of each head.
        prior: Of each head, probability of each scene in its training, for timelines.
        unknown_threshold: Score above which a recording is out-of-distribution; null without unknown detection.
        why_unknown_unavailable: Why no recording can be unknown; null where one can.
        attribution: Whether /v1/explain can draw attribution.
        limits: What the service accepts.
    """

    name: str
    sha256: str
    soundscene: str
    engine: str
    scenes: list[str]
    members: list[str]
    head: str
    heads: list[str]
    sample_rate: int
    segment_s: float
    temperature: dict[str, float]
    prior: dict[str, list[float]]
    unknown_threshold: float | None
    why_unknown_unavailable: str | None
    attribution: bool
    limits: LimitFacts


@dataclass(frozen=True)
class ServiceStatus:
    """Whether the service lives, or takes requests."""

    status: str


@dataclass(frozen=True)
class StreamUpdate:
    """A message of /v1/stream: a line of `soundscene listen --format jsonl`, and notes.

    Attributes:
        start_s: Start of the segment, seconds of sound since the start of the stream.
        end_s: Its end.
        scene: Most probable scene over the window; null if nothing in it voted.
        probability: Of that scene.
        n_segments: Segments of the window that voted.
        silent: Whether every sample of the segment is zero.
        lost_s: Seconds that never arrived; 0 here.
        segment_scene: Most probable scene of the segment alone.
        segment_probability: Of that scene.
        latency_s: Seconds from the arrival of the last sample of the segment to the prediction.
        delay_s: Seconds from the end of the segment to the prediction.
        dropouts: 0 here.
        overruns: 0 here.
        unfamiliarity: Mean over the window, larger is less familiar.
        unknown: Whether the window is out-of-distribution.
        posterior: Of each scene over the window.
        segment_posterior: Of each scene in the segment alone.
        notes: What may make the prediction worse.
    """

    start_s: float
    end_s: float
    scene: str | None
    probability: float | None
    n_segments: int
    silent: bool
    lost_s: float
    segment_scene: str | None
    segment_probability: float | None
    latency_s: float
    delay_s: float
    dropouts: int
    overruns: int
    unfamiliarity: float | None
    unknown: bool
    posterior: dict[str, float] | None
    segment_posterior: dict[str, float] | None
    notes: list[str]
