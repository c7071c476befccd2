"""Pictures of what a prediction rests on: attention from the model or its graph, attribution where Captum is installed."""

import threading
from contextlib import closing
from pathlib import Path
from typing import Any, Literal

import numpy as np
from jaxtyping import Float32

from soundscene.audio.files import AudioFile
from soundscene.errors import AudioError, SceneError
from soundscene.extras import is_installed, require
from soundscene.graph_model import AT_ONCE, GraphModel, GraphSource
from soundscene.passes import checked
from soundscene.predictor import Predictor
from soundscene.recipe import Recipe
from soundscene.scene_model import BATCH
from soundscene.scoring.fusion import product, temper
from soundscene.serve.refusal import RefusedError
from soundscene.serve.service import Service, refusals
from soundscene.serve.work import Check
from soundscene.signal.streams import FeatureSource, segment_batches
from soundscene.types import Head, SegmentFeatures

PictureForm = Literal["svg", "png"]
MEDIA_TYPES: dict[PictureForm, str] = {"svg": "image/svg+xml", "png": "image/png"}
MOST_SEGMENTS = 60  # of a picture
_DRAWING = threading.Lock()  # Matplotlib is not safe in several threads


def check_explain(service: Service, attribution: bool) -> None:
    """Check, before anything is computed, that a picture can be drawn.

    Args:
        service: The model.
        attribution: Whether attribution is wanted.

    Raises:
        RefusedError: 501 with what is missing.
    """
    if not _drawn(service.predictor.model):
        raise RefusedError(501, "this model is a frozen backbone only, which has no attention, so there is nothing to draw")
    if attribution and service.is_graph:
        what = "attribution needs derivatives, which an exported model has not; serve the model file (.safetensors)"
        raise RefusedError(501, f'{what} with pip install "soundscene[explain]"')
    extra = "explain" if attribution else "plot"
    if not is_installed(extra):
        try:
            require("/v1/explain with attribution" if attribution else "/v1/explain", extra)
        except SceneError as error:
            raise RefusedError(501, str(error)) from None


def attention_picture(
    service: Service, path: Path, name: str, head: Head | None, form: PictureForm, from_s: float, most: int, check: Check
) -> bytes:
    """Draw images, attention and posteriors of some segments.

    Args:
        service: The model.
        path: The recording.
        name: Its name for the client.
        head: Classifier; None for the model's own.
        form: "svg" or "png".
        from_s: Where the picture begins, s.
        most: Segments drawn, at most.
        check: See `work.Check`.

    Raises:
        RefusedError: The recording cannot be used.
    """
    from soundscene.plotting.attention_figure import attention_figure
    from soundscene.plotting.svg import render_file

    with refusals(path, name):
        view = _view(service.of_head(head), path, name, from_s, most, check)
        with _DRAWING:
            return render_file(attention_figure(view), f".{form}", "attention")[0]


def attribution_picture(
    service: Service, path: Path, name: str, head: Head | None, form: PictureForm, from_s: float, most: int, check: Check
) -> bytes:
    """Draw the picture of `soundscene explain`.

    Args:
        service: The model, not an exported one.
        path: The recording.
        name: Its name for the client.
        head: Classifier; None for the model's own.
        form: "svg" or "png".
        from_s: Where the picture begins, s.
        most: Segments drawn, at most.
        check: See `work.Check`; asked before and after, because attribution takes no blocks.

    Raises:
        RefusedError: The recording cannot be used.
    """
    from soundscene.explanation.write import explain_recording

    model: Any = service.predictor.model
    out = path.with_name(f"{path.name}.{form}")
    with refusals(path, name):
        service.predictor.predict(path, warn=False, check=check)  # its limit of seconds
        try:
            with _DRAWING:
                explain_recording(model, path, out, head=head, from_s=from_s, most=most, name=name)
            return out.read_bytes()
        finally:
            out.unlink(missing_ok=True)


def _drawn(model: Any) -> list[str]:
    """Names of the members that read images; a backbone reads none of ours."""
    if isinstance(model, GraphModel):
        outputs = {output.name for output in model.session.get_outputs()}
        return [name for name in model.member_names if f"images/{name}" in outputs]
    from soundscene.member import networks_of  # needs PyTorch

    return [member.name for member in networks_of(model.members)]


def _view(predictor: Predictor, path: Path, name: str, from_s: float, most: int, check: Check) -> Any:
    from soundscene.plotting.attention_figure import AttentionView
    from soundscene.plotting.axes import band_centres_hz

    model, segment_s = predictor.model, predictor.model.audio.segment_s
    details: Any = _GraphDetails(model) if isinstance(model, GraphModel) else _ModelDetails(model)
    rows, starts, silences, kept = [], [], [], []
    sound = AudioFile(path, model.audio)
    with closing(checked(check, model.audio.sample_rate, sound.blocks())) as blocks:
        for piece in segment_batches(details.source.stream(), blocks, BATCH):
            inside = piece.start_s + segment_s > from_s + 1e-6
            inside &= np.cumsum(inside) <= most - sum(len(part[0]) for part in kept)
            kept.append(details.of(piece, inside))
            row = np.full((len(piece.start_s), len(model.scenes)), np.nan)
            row[~piece.silent] = model.classify(model.embed(piece.take(~piece.silent)), predictor.head)
            rows.append(row)
            starts.append(piece.start_s)
            silences.append(piece.silent)
    log_posterior, start_s, silent = np.concatenate(rows), np.concatenate(starts), np.concatenate(silences)
    if silent.all():
        raise AudioError(f"{path}: every segment is digital silence; was the microphone connected?")
    drawn = np.flatnonzero(start_s + segment_s > from_s + 1e-6)[:most]
    if not len(drawn):
        end_s = start_s[-1] + segment_s
        raise AudioError(f"{path}: nothing to draw from {from_s:g} s on, its last segment ends at {end_s:g} s")
    joined: list[Any] = [None if p[0] is None else np.concatenate(p) for p in zip(*kept, strict=True)]
    fused = np.exp(temper(product(log_posterior[~silent]), model.temperature[predictor.head]))
    best = int(fused.argmax())
    title = f"{name}: {model.scenes[best]} {fused[best]:.2f}   ({sound.duration_s:.1f} s, {predictor.head} head)"
    return AttentionView(
        title,
        _notes(details, len(drawn), len(start_s)),
        tuple(model.scenes),
        start_s[drawn],
        segment_s,
        joined[0],
        joined[1],
        joined[2],
        np.exp(log_posterior[drawn]),
        band_centres_hz(details.recipe),
        details.recipe.features.kind,
    )


def _notes(details: Any, n_drawn: int, n: int) -> tuple[str, ...]:
    notes = []
    if n_drawn < n:
        notes.append(f"Drawn: {n_drawn} of {n} segments; the prediction is that of all.")
    if details.n_members > 1:
        notes.append(f"Images and attention are those of the member {details.name}, one of {details.n_members}.")
    if not details.attends:
        notes.append("This network pools without attention, as the CNN baseline does.")
    return tuple(notes)


_Details = tuple[Float32[np.ndarray, "segment 2 band frame"], Any, Any]


class _GraphDetails:
    """Images and attention as outputs of an exported graph; of the first member with attention."""

    def __init__(self, model: GraphModel) -> None:
        outputs = {output.name for output in model.session.get_outputs()}
        names = _drawn(model)
        attending = [name for name in names if f"temporal_attention/{name}" in outputs]
        self.name, self.n_members, self.attends = (attending or names)[0], len(model.member_names), bool(attending)
        self.recipe: Recipe = model.facts.recipes[self.name]
        details = ("images", "temporal_attention", "spatial_attention") if attending else ("images",)
        size = model.audio.segment_samples
        self.source: FeatureSource = GraphSource(
            model, size, AT_ONCE * size, tuple(f"{detail}/{self.name}" for detail in details)
        )

    def of(self, piece: SegmentFeatures, inside: np.ndarray) -> _Details:
        """Return images and both attentions of some segments."""
        images, *attention = (array[inside].astype(np.float32) for array in piece.features[1:])
        return (images, *attention) if attention else (images, None, None)  # pyright: ignore[reportReturnType]


class _ModelDetails:
    """Images of a model's front-end, and attention by PyTorch; of the first member with attention."""

    def __init__(self, model: Any) -> None:
        from soundscene.explanation.members import choose_member

        self._number, self._member = choose_member(model)
        self.name, self.n_members = self._member.name, len(model.members)
        self.attends = self._member.has_attention
        self.recipe: Recipe = self._member.recipe
        self.source: FeatureSource = model.build_front_end()

    def of(self, piece: SegmentFeatures, inside: np.ndarray) -> _Details:
        """Return images and both attentions of some segments."""
        from soundscene.explanation.attention import attention

        images = piece.features[self._number][inside]
        if not self.attends:
            return images, None, None
        if not len(images):
            n_frames, n = images.shape[3], 2 * self.recipe.network.hidden
            return images, np.zeros((0, n_frames), np.float32), np.zeros((0, n), np.float32)
        spatial, temporal = attention(self._member, images)
        return images, temporal, spatial
