"""The picture of one segment: its image, its attention vectors and their outer product."""

from pathlib import Path

import numpy as np
from jaxtyping import Float32
from matplotlib.figure import Figure

from soundscene.audio.files import AudioFile
from soundscene.errors import AudioError
from soundscene.explanation.attention import attention
from soundscene.explanation.members import choose_member
from soundscene.files import write_atomic
from soundscene.member import NetworkMember
from soundscene.model import Model
from soundscene.plotting.axes import band_centres_hz, hertz_axis, wrap_text
from soundscene.plotting.style import CHANNELS, REFERENCE_GREY, styled
from soundscene.plotting.svg import clean, render_png
from soundscene.signal.streams import join_segments
from soundscene.types import take_features


def attention_picture(model: Model, sound: Path, out: Path, segment: int | None = None) -> int:
    """Draw one segment of a recording as PNG: both channels, temporal attention, spatial attention, their outer product.

    Args:
        model: A model with attention.
        sound: Audio file.
        out: File to write.
        segment: Its number from 0, by default the one in which temporal attention is farthest from uniform.

    Returns:
        The number of the segment drawn.

    Raises:
        BundleError: A model without attention.
        AudioError: No segment of that number.
        SceneError: `out` cannot be written.
    """
    file = AudioFile(sound, model.audio)
    stream = model.build_front_end().stream()
    segments = join_segments([*(stream.push(block) for block in file.blocks()), stream.flush()])
    number, member = choose_member(model)
    images = segments.features[number]
    spatial, temporal = attention(member, images)
    if segment is None:
        weight = temporal.astype(np.float64)
        entropy = -(weight * np.log(weight + 1e-300)).sum(axis=1) + np.where(segments.silent, np.inf, 0.0)
        segment = int(entropy.argmin())
    if not 0 <= segment < len(segments.start_s):
        raise AudioError(f"{sound}: segment {segment}, allowed are 0 to {len(segments.start_s) - 1}")
    embedding = model.embed(take_features(segments.features, slice(segment, segment + 1)))
    posterior = np.exp(model.classify(embedding, model.head)[0])
    best = int(posterior.argmax())
    start_s = segments.start_s[segment]
    title = (
        f"{clean(sound.name)}, {start_s:.1f} s to {start_s + model.audio.segment_s:.1f} s: "
        f"{clean(model.scenes[best])} {posterior[best]:.2f} by this segment alone"
    )
    figure = _figure(member, images[segment], float(start_s), spatial[segment], temporal[segment], title)
    write_atomic(out, render_png(figure)[0])
    return segment


@styled
def _figure(
    member: NetworkMember,
    image: Float32[np.ndarray, "2 band frame"],
    start: float,
    spatial: Float32[np.ndarray, " recurrent"],
    temporal: Float32[np.ndarray, " frame"],
    title: str,
) -> Figure:
    frame_s = member.recipe.features.hop / member.recipe.audio.sample_rate
    n_bands, n_frames = image.shape[1:]
    seconds = (start, start + n_frames * frame_s)
    figure = Figure(figsize=(10, 10), layout="constrained")
    axes = figure.subplots(4, 2, width_ratios=(12, 1), height_ratios=(3, 3, 1.4, 3))
    figure.suptitle(wrap_text(title, 110), x=0.01, ha="left")
    decibels = image * (10 / np.log(10))
    low, high = np.percentile(decibels, (2, 99.8))
    centres = band_centres_hz(member.recipe)
    for channel in range(2):
        axis = axes[channel, 0]
        drawn = axis.imshow(
            decibels[channel], origin="lower", aspect="auto", cmap="magma", vmin=low, vmax=high,
            extent=(*seconds, -0.5, n_bands - 0.5),
        )  # fmt: skip
        hertz_axis(axis, centres)
        axis.grid(visible=False)  # it would lie over an image of imshow
        axis.set_title(f"log-{member.recipe.features.kind}, {CHANNELS[channel]}")
        figure.colorbar(drawn, cax=axes[channel, 1], label="dB")
    _draw_attention(axes, spatial, temporal, seconds, frame_s)
    return figure


def _draw_attention(
    axes: np.ndarray,
    spatial: Float32[np.ndarray, " recurrent"],
    temporal: Float32[np.ndarray, " frame"],
    seconds: tuple[float, float],
    frame_s: float,
) -> None:
    """Draw temporal attention as a curve and the mask A with spatial attention at its side; 1 is uniform attention."""
    times = seconds[0] + (np.arange(len(temporal)) + 0.5) * frame_s
    curve, mask, side = axes[2, 0], axes[3, 0], axes[3, 1]
    curve.plot(times, temporal * len(temporal), color="black")
    curve.axhline(1, color=REFERENCE_GREY, linewidth=0.6)
    curve.set(xlim=seconds, ylabel="times uniform", title="temporal attention, equation (4)")
    axes[2, 1].axis("off")
    relative = np.outer(spatial, temporal) * (len(spatial) * len(temporal))
    mask.grid(visible=False)
    mask.imshow(relative, origin="lower", aspect="auto", cmap="Greys", extent=(*seconds, 0, len(spatial)))
    mask.set(
        xlabel="seconds",
        ylabel="recurrent feature\n(NOT frequency)",
        title=f"mask A, equation (8): {relative.min():.2f} (white) to {relative.max():.2f} (black) times uniform",
    )
    side.plot(spatial * len(spatial), np.arange(len(spatial)) + 0.5, color="black", linewidth=0.8)
    side.set(ylim=(0, len(spatial)), yticks=[], xlabel="times\nuniform", title="spatial, (5)")
