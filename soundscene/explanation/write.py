"""What `soundscene explain` does: a recording or a manifest in, a picture or a page out."""

from collections.abc import Callable
from pathlib import Path

from matplotlib.figure import Figure

from soundscene.bundle import Head, ModelBundle
from soundscene.explanation.attention import learnt
from soundscene.explanation.corpus import ATTRIBUTED, SceneMeans, average
from soundscene.explanation.corpus_figure import corpus_figure, corpus_rows
from soundscene.explanation.recording import SEGMENTS, RecordingView, analyse_recording
from soundscene.explanation.recording_figure import completeness, headline, recording_figure, remarks
from soundscene.files import write_atomic
from soundscene.plotting.picture_page import page
from soundscene.plotting.sheet import band_centres_hz, check_out, clean, rendered, svg_element

_ATTENTION = (
    "Temporal attention",
    "How much each frame of a segment weighs when the recurrent output is pooled; 1 is what equal weights give. "
    "A weight says where the network pooled, not why the answer is what it is.",
)
_SPATIAL = (
    "Spatial attention",
    "How much each recurrent feature weighs. A recurrent feature is computed from all bands: this axis is NOT frequency.",
)
_ATTRIBUTION = (
    "Attribution (integrated gradients)",
    "How many nats each value of the image brings to the log posterior of one scene on the straight way from the mean image "
    "of the training part to this one. It is the panel to read frequencies from; it is computed from derivatives, and is no "
    "attention.",
)


def explain_recording(
    bundle: ModelBundle,
    sound: Path,
    out: Path,
    *,
    head: Head | None = None,
    scene: str | None = None,
    from_s: float = 0.0,
    most: int = SEGMENTS,
) -> tuple[RecordingView, tuple[str, ...]]:
    """Draw what a model made of a recording as PNG, SVG or a page of HTML, by the suffix of `out`; arguments: `analyse_recording`.

    Returns the numbers that were drawn, and notes: what is left out, and how complete the attributions are.
    Raises: `SceneError` of any kind; for an output that cannot be written, before anything is computed.
    """
    check_out(out)
    view = analyse_recording(bundle, sound, head=head, scene=scene, from_s=from_s, most=most)
    recipe = bundle.recipe
    figure = recording_figure(
        view,
        band_centres_hz(bundle.recipe),
        recipe.features.kind,
        recipe.audio.sample_rate,
        recipe.features.hop,
        learnt(bundle),
    )
    notes = (*view.notes, *remarks(view), completeness(view))
    columns = ("scene", "fused answer", *(f"from {start:g} s" for start in view.start_s[view.drawn]))
    rows = [
        (clean(name), f"{view.answer[-1, i]:.3f}", *(_number(p) for p in view.posterior[view.drawn, i]))
        for i, name in enumerate(view.scenes)
    ]
    lead = [f"{view.duration_s:.1f} s of sound, {len(view.start_s)} segments of {view.segment_s:g} s, {view.head} head."]
    growth = (
        "The fused answer as it grew",
        "All segments so far, multiplied, and flattened by the temperature of the model: what soundscene predict would "
        "say if the recording ended there.",
    )
    reading = [_ATTENTION, _SPATIAL, _ATTRIBUTION, growth] if view.part.temporal is not None else [_ATTRIBUTION, growth]
    made = _write(out, figure, lambda svg: page(headline(view), lead, svg, columns, rows, reading, notes))
    return view, (*notes, *made)


def explain_manifest(
    bundle: ModelBundle,
    manifest: Path,
    out: Path,
    *,
    test: str | None = None,
    head: Head | None = None,
    most: int = ATTRIBUTED,
    progress: Callable[[int, int], None] | None = None,
) -> tuple[tuple[SceneMeans, ...], tuple[str, ...]]:
    """Draw what a model listened to in each scene of a manifest, on average; arguments: `average`.

    Returns the averages and notes. Raises: as `explain_recording`, and `ManifestError` as `average` does.
    """
    check_out(out)
    means = average(bundle, manifest, test=test, head=head, most=most, progress=progress)
    title = (
        f"{clean(manifest.name)}: {sum(m.recordings for m in means)} recordings, {sum(m.segments for m in means)} segments"
    )
    frame_s = bundle.recipe.features.hop / bundle.recipe.audio.sample_rate
    figure = corpus_figure(means, title, band_centres_hz(bundle.recipe), frame_s)
    notes = [f"integrated gradients: sums within {max(m.error for m in means):.2g} nats of what they should be, at most"]
    n = sum(m.by_band.n for m in means)
    notes.append(f"attributed: {n} segments, at most {most} of a recording, drawn with a fixed seed")
    if means[0].temporal is None:
        notes.insert(0, "this model is the CNN baseline, which has no attention: only attributions are averaged")
    if test:
        notes.append(f"rows with {test} only")
    reading = [_ATTENTION, _SPATIAL, _ATTRIBUTION] if means[0].temporal is not None else [_ATTRIBUTION]
    lead = ["Means over segments, and their standard deviation as a grey band. The scene is the manifest's, not the answer."]
    columns, rows = corpus_rows(means, band_centres_hz(bundle.recipe))
    made = _write(out, figure, lambda svg: page(title, lead, svg, columns, rows, reading, notes))
    return means, (*notes, *made)


def _number(value: float) -> str:
    return "silent" if value != value else f"{value:.3f}"


def _write(out: Path, figure: Figure, make_page: Callable[[str], str]) -> tuple[str, ...]:
    form = ".png" if out.suffix.lower() == ".png" else ".svg"
    content, notes = rendered(figure, form)
    if out.suffix.lower() == ".html":
        content = make_page(svg_element(content)).encode("utf-8", "backslashreplace")
    write_atomic(out, content)
    return notes
