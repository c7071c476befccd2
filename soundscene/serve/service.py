"""The model behind the service, and the work that requests ask of it: each a function of a file, run by a worker."""

import hashlib
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np

from soundscene import timelines
from soundscene.errors import SceneError
from soundscene.extras import is_installed
from soundscene.live import warm_up
from soundscene.predictor import Predictor
from soundscene.serve.body import Uploads
from soundscene.serve.limits import Limits
from soundscene.serve.metrics import ServiceMetrics
from soundscene.serve.refusal import RefusedError, refusal_of
from soundscene.serve.work import Check, Workers
from soundscene.types import Head

HEADS: tuple[Head, ...] = ("svm", "softmax")


@dataclass
class Service:
    """All that requests share.

    Attributes:
        model_path: The model's file.
        predictor: The model with its own head.
        limits: What is accepted.
        workers: Threads that compute recordings.
        uploads: Bodies that are being received.
        metrics: What happened.
        token: Bearer token that requests must have; None for none.
        origins: Origins of pages on other hosts that may ask.
        n_streams: Live streams.
        draining: Whether the service ends as soon as the requests in progress are done.
        facts: What `schemas.ModelFacts` describes; after `warm_up`.
    """

    model_path: Path
    predictor: Predictor
    limits: Limits
    workers: Workers
    uploads: Uploads
    metrics: ServiceMetrics
    token: str | None = None
    origins: tuple[str, ...] = ()
    n_streams: int = 0
    draining: bool = False
    facts: dict[str, Any] = field(default_factory=dict)
    _of_head: dict[Head, Predictor] = field(default_factory=dict)

    @property
    def is_graph(self) -> bool:
        """Whether the model is an exported one."""
        return self.model_path.suffix.lower() == ".onnx"

    def of_head(self, head: Head | None) -> Predictor:
        """Return the model with a head; None is the model's own choice."""
        return self.predictor if head is None else self._of_head[head]

    def warm_up(self) -> None:
        """Build what requests share, and compute a prediction, so that the first request is as quick as the others."""
        model = self.predictor.model
        self._of_head = {
            head: self.predictor if head == self.predictor.head else Predictor(model, head, self.predictor.keep)
            for head in HEADS
        }
        warm_up(model, self.predictor.head, model.audio.sample_rate)
        noise = np.random.default_rng(0).normal(0, 0.01, 2 * model.audio.segment_samples).astype(np.float32)
        self.predictor.predict((noise, model.audio.sample_rate), warn=False)
        self.facts = self._facts()

    def gauges(self) -> dict[str, tuple[float, str]]:
        """Return what is in progress, for `ServiceMetrics.text`."""
        return {
            "recordings_running": (self.workers.n_running, "Recordings being computed."),
            "recordings_waiting": (self.workers.n_waiting, "Recordings that wait for a worker."),
            "uploads": (self.uploads.n_open, "Recordings being received, waiting or computed."),
            "streams": (self.n_streams, "Live streams."),
            "draining": (float(self.draining), "Whether the service ends."),
        }

    def _facts(self) -> dict[str, Any]:
        model, predictor = self.predictor.model, self.predictor
        return {
            "name": self.model_path.name,
            "sha256": hashlib.sha256(self.model_path.read_bytes()).hexdigest(),
            "soundscene": version("soundscene"),
            "engine": "ONNX Runtime" if self.is_graph else "PyTorch",
            "scenes": list(model.scenes),
            "members": list(model.member_names),
            "head": predictor.head,
            "heads": list(HEADS),
            "sample_rate": model.audio.sample_rate,
            "segment_s": model.audio.segment_s,
            "temperature": {head: float(model.temperature[head]) for head in HEADS},
            "prior": {head: model.training_prior(head).tolist() for head in HEADS},
            "unknown_threshold": model.familiarity.threshold(predictor.keep) if model.familiarity else None,
            "why_unknown_unavailable": predictor.why_unknown_unavailable,
            "attribution": not self.is_graph and is_installed("explain"),
            "limits": {
                "max_bytes": self.limits.max_bytes,
                "max_seconds": self.limits.max_seconds,
                "workers": self.limits.workers,
                "queue": self.limits.queue,
                "streams": self.limits.streams,
            },
        }


# --- work of a request, in the thread of a worker ---------------------------------------------------------------------


def predict(
    service: Service, path: Path, name: str, head: Head | None, segments: bool, unknown: bool, check: Check
) -> dict[str, Any]:
    """Return the line of `predict --format jsonl`.

    Args:
        service: Model and limits.
        path: The recording.
        name: Its name for the client.
        head: Classifier; None for the model's own.
        segments: Whether to include the segments.
        unknown: Whether to label out-of-distribution recordings as unknown.
        check: See `work.Check`.

    Raises:
        RefusedError: The recording cannot be used.
    """
    with refusals(path, name):
        prediction = service.of_head(head).predict(path, warn=False, check=check)
    service.metrics.add_sound(prediction.duration_s)
    return prediction.to_dict(segments, unknown) | {"path": name}


def timeline(service: Service, path: Path, name: str, head: Head | None, stay_s: float, check: Check) -> dict[str, Any]:
    """Return the spans of `timeline --format json`, and the share of time of each scene.

    Args:
        service: Model and limits.
        path: The recording.
        name: Its name for the client.
        head: Classifier; None for the model's own.
        stay_s: Expected stay in a scene, in seconds.
        check: See `work.Check`.

    Raises:
        RefusedError: The recording or the stay cannot be used.
    """
    predictor = service.of_head(head)
    with refusals(path, name):
        timelines.check_stay(predictor.model, stay_s)
        prediction = predictor.predict(path, warn=False, check=check)
        line = timelines.timeline(prediction, predictor.model, predictor.head, stay_s)
    service.metrics.add_sound(prediction.duration_s)
    return {
        "path": name,
        "duration_s": round(line.duration_s, 3),
        "stay_s": stay_s,
        "spans": [span | {"path": name} for span in timelines.json_rows(line)],
        "shares": [
            {"scene": scene, "seconds": round(s, 3), "share": round(share, 6)}
            for scene, s, share in timelines.shares([line])
        ],
        "notes": list(line.notes),
    }


def embed(service: Service, path: Path, name: str, per: str, check: Check) -> dict[str, Any]:
    """Return the embeddings of a recording.

    Args:
        service: Model and limits.
        path: The recording.
        name: Its name for the client.
        per: "recording" for their mean, or "segment".
        check: See `work.Check`.

    Raises:
        RefusedError: The recording cannot be used.
    """
    with refusals(path, name):
        starts, rows = service.predictor.embed(path, check)
    whole = per == "recording"
    members = zip(service.predictor.model.member_names, rows, strict=True)
    return {
        "path": name,
        "per": per,
        "start_s": [float(s) for s in (starts[:1] if whole else starts)],
        "members": [
            {"name": member, "embedding": (row.mean(axis=0, keepdims=True) if whole else row).tolist()}
            for member, row in members
        ],
    }


@contextmanager
def refusals(path: Path, name: str) -> Iterator[None]:
    """Turn errors of a recording into refusals, without the traceback, which would keep its sound in memory.

    Args:
        path: Where the bytes of the recording are.
        name: Its name for the client.
    """
    try:
        yield
    except SceneError as error:
        raise refusal_of(error, str(path), name) from None
    except RefusedError as error:
        raise RefusedError(error.status, error.sentence, name, error.headers) from None
