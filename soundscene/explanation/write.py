"""Explain a recording or a manifest: write a picture, or a page around it."""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from matplotlib.figure import Figure

from soundscene.data.manifest import Manifest
from soundscene.explanation.attention import learnt, without_attention
from soundscene.explanation.corpus import ATTRIBUTED, SceneMeans, average
from soundscene.explanation.corpus_figure import corpus_figure, corpus_table
from soundscene.explanation.members import choose_member, others
from soundscene.explanation.recording import SEGMENTS, RecordingView, analyse_recording
from soundscene.explanation.recording_figure import completeness, headline, recording_figure, remarks, time_panels
from soundscene.files import write_atomic
from soundscene.model import Model
from soundscene.plotting.axes import band_centres_hz
from soundscene.plotting.page import Picture, Section, Table, page
from soundscene.plotting.player import Player
from soundscene.plotting.svg import check_output, clean, render_file, render_svg
from soundscene.types import Head

SUFFIXES = (".png", ".svg", ".html")
PICTURE = "explanation"

_ATTENTION = (
    "Temporal attention",
    "How much each frame of a segment weighs when the recurrent output is pooled; 1 is uniform attention. "
    "A weight shows where the network pooled, not why the prediction is what it is.",
)
_SPATIAL = (
    "Spatial attention",
    "How much each recurrent feature weighs. A recurrent feature is computed from all bands: this axis is NOT frequency.",
)
_ATTRIBUTION = (
    "What speaks for a scene and against it",
    "Attribution by integrated gradients: how many nats each value of the image contributes to the log posterior of one "
    "scene on the straight path from the mean image of the training part to this one. It is computed from derivatives, "
    "and is not attention.",
)
_FUSED = (
    "Fused prediction over time",
    "The product of all segments so far, tempered with the temperature of the model: the prediction of soundscene predict "
    "if the recording ended there.",
)
_EXACT = "How exact the attributions are"


def explain_recording(
    model: Model,
    sound: Any,
    out: Path,
    *,
    head: Head | None = None,
    scene: str | None = None,
    from_s: float = 0.0,
    most: int = SEGMENTS,
    member: str | None = None,
    name: str | None = None,
) -> tuple[RecordingView, tuple[str, ...]]:
    """Draw how a model classifies a recording as PNG, SVG or an HTML page, by the suffix of `out`.

    Args:
        model: The model to explain.
        sound: Audio file, samples with their rate, or what else `audio.arrays.as_source` takes.
        out: File to write.
        head: By default the recipe's.
        scene: Whose log posterior is attributed, by default the predicted one.
        from_s: Where the part drawn begins, s.
        most: Number of segments drawn, at most.
        member: Name of the member drawn in detail, as in `choose_member`.
        name: Of the recording in the picture; by default that of its file.

    Returns:
        The numbers drawn, and notes: what is left out, and how complete the attributions are.

    Raises:
        SceneError: Of any kind. An output that cannot be written is refused before anything is computed.
    """
    suffix = check_output(out, SUFFIXES)
    view = analyse_recording(model, sound, head=head, scene=scene, from_s=from_s, most=most, member=member, name=name)
    _, drawn = choose_member(model, member)
    features, sample_rate = drawn.recipe.features, drawn.recipe.audio.sample_rate
    centres_hz = band_centres_hz(drawn.recipe)
    figure = recording_figure(view, centres_hz, features.kind, sample_rate, features.hop, learnt(drawn))
    notes, last = (*view.notes, *remarks(view)), completeness(view)
    columns = ("scene", "fused", *(f"from {start:g} s" for start in view.start_s[view.drawn]))
    rows = tuple(
        (clean(name), f"{view.fused[-1, i]:.3f}", *(_probability(p) for p in view.posterior[view.drawn, i]))
        for i, name in enumerate(view.scenes)
    )
    table = Table("Posterior of the recording and of each segment drawn", columns, rows)
    lead = f"{view.duration_s:.1f} s of sound, {len(view.start_s)} segments of {view.segment_s:g} s, {view.head} head."
    terms = (_FUSED, _ATTRIBUTION, _ATTENTION, _SPATIAL) if view.part.temporal is not None else (_FUSED, _ATTRIBUTION)
    terms = (*terms, (_EXACT, f"{last[0].upper()}{last[1:]}."))
    player = None
    if suffix == ".html":
        player = Player.of(view.part.samples, sample_rate, view.part.samples_from_s, time_panels(figure), PICTURE)
    render_notes = _write(out, suffix, figure, headline(view), (lead, *notes), table, terms, player)
    return view, (*notes, *render_notes, last)


def explain_manifest(
    model: Model,
    manifest: Path | Manifest,
    out: Path,
    *,
    test: str | None = None,
    head: Head | None = None,
    most: int = ATTRIBUTED,
    member: str | None = None,
    progress: Callable[[int, int], None] | None = None,
) -> tuple[tuple[SceneMeans, ...], tuple[str, ...]]:
    """Draw average attention and attribution for each scene of a manifest as PNG, SVG or an HTML page.

    Args:
        model: The model to explain.
        manifest: The manifest, or its CSV file.
        out: File to write; its suffix chooses the format.
        test: Rows to use, as "fold=1"; by default all.
        head: By default the recipe's.
        most: Segments of each recording that are attributed.
        member: Name of the member drawn, as in `choose_member`.
        progress: Called with recordings done and recordings in total.

    Returns:
        The averages, and notes.

    Raises:
        SceneError: As `explain_recording` and `average` do.
    """
    suffix = check_output(out, SUFFIXES)
    odd = list[str]()
    manifest = Manifest.of(manifest)
    means = average(model, manifest, test=test, head=head, most=most, member=member, progress=progress, notes=odd)
    n_recordings, n_segments = sum(m.recordings for m in means), sum(m.segments for m in means)
    title = f"{clean(manifest.path.name)}: {n_recordings} recordings, {n_segments} segments"
    _, drawn = choose_member(model, member)
    if len(model.members) > 1:
        title += f"; member {drawn.name}, one of {len(model.members)}"
    attended = means[0].temporal is not None
    recipe = drawn.recipe
    centres_hz = band_centres_hz(recipe)
    frame_s = recipe.features.hop / recipe.audio.sample_rate
    figure = corpus_figure(means, title, centres_hz, frame_s)
    n_attributed = sum(m.by_band.n for m in means)
    last = (
        f"attributed: {n_attributed} segments, at most {most} of a recording, drawn with a fixed seed",
        f"integrated gradients: sums are complete within {max(m.error for m in means):.2g} nats",
    )
    notes = list[str]()
    if not attended:
        which = "this model" if len(model.members) == 1 else f"the member {drawn.name}"
        notes.insert(0, f"{which} {without_attention(drawn)}: only attributions are averaged")
    if of_members := others(model, drawn):
        notes.insert(0, of_members)
    if test:
        notes.append(f"rows with {test} only")
    lead = "Means over segments, with their standard deviation as a grey band. Scenes are the manifest's, not predicted."
    terms = (_ATTENTION, _SPATIAL, _ATTRIBUTION) if attended else (_ATTRIBUTION,)
    terms = (*terms, (_EXACT, " ".join(f"{text[0].upper()}{text[1:]}." for text in last)))
    notes[:0] = odd
    render_notes = _write(out, suffix, figure, title, (lead, *notes), corpus_table(means, centres_hz), terms)
    return means, (*notes, *render_notes, *last)


def _probability(value: float) -> str:
    return "silent" if value != value else f"{value:.3f}"


def _write(
    out: Path,
    suffix: str,
    figure: Figure,
    title: str,
    lead: Sequence[str],
    table: Table,
    terms: tuple[tuple[str, str], ...],
    player: Player | None = None,
) -> tuple[str, ...]:
    """Write a picture, or a page with picture, table and terms; return notes on what the picture could not show."""
    if suffix != ".html":
        content, notes = render_file(figure, suffix, "explanation")
        write_atomic(out, content)
        return notes
    caption = "Every panel is explained at the end of this page."
    if player:
        caption += " A click into a panel moves the player there."
    picture = Picture(PICTURE, "What the prediction is based on", caption, render_svg(figure, PICTURE))
    sections = (
        Section("Picture", figures=(picture,)),
        Section("Numbers", tables=(table,)),
        Section("How to read the picture", terms=terms),
    )
    write_atomic(out, page(title, lead, sections, player=player).encode("utf-8", "backslashreplace"))
    return ()
