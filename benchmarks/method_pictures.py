"""The pictures of docs/explanation/method.md, drawn from the arrays that the front-end and the training compute.

    python benchmarks/method_pictures.py docs/explanation

Sound: rendered, seeds below. Written: front-end.png (a segment on its way to an image), filters.png (both filter banks) and
mixing.png (a between-class example).
"""

import argparse
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Float, Float32
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from PIL import Image

from soundscene.network.blocks import Standardise
from soundscene.plotting.axes import hertz_axis
from soundscene.plotting.style import CHANNELS, PNG_DPI, styled
from soundscene.recipe import AudioRecipe, FeatureRecipe
from soundscene.render.corpus import render_recording
from soundscene.signal.features import LogSpectrogram
from soundscene.signal.filterbanks import gammatone_filters, mel_centres_hz, mel_filters
from soundscene.signal.noise import two_channels
from soundscene.training.between_class import mix_images, mix_labels

AUDIO, MEL = AudioRecipe(), FeatureRecipe()
RATE, SEGMENT = AUDIO.sample_rate, AUDIO.segment_samples
SCENES = ("forest_birds", "cafe_babble")
RATIO = 0.6
SEED = 11


def main() -> None:
    """Draw the three pictures."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    folder = parser.parse_args().folder
    for name, draw in (("front-end", draw_front_end), ("filters", draw_filters), ("mixing", draw_mixing)):
        path = folder / f"{name}.png"
        draw().savefig(path, dpi=PNG_DPI)
        Image.open(path).convert("P", palette=Image.Palette.ADAPTIVE, colors=128).save(path, optimize=True)


def segment(scene: str) -> Float32[np.ndarray, "2 sample"]:
    """Return both channels of the third segment of a rendered recording: by then the noise is known."""
    samples = render_recording(scene, 6.0, RATE, np.random.default_rng(SEED))
    return two_channels(samples, RATE)[:, 2 * SEGMENT : 3 * SEGMENT]


@styled
def draw_front_end() -> Figure:
    """Draw waveform and image of both channels of a segment."""
    channels = segment(SCENES[0])
    image = LogSpectrogram(AUDIO, MEL)(channels[None])[0]
    figure = Figure(figsize=(7.0, 4.8), layout="constrained")
    axes = figure.subplots(2, 2, sharex=True)
    time_s = np.arange(SEGMENT) / RATE
    for channel, name in enumerate(CHANNELS):
        wave, picture = axes[0, channel], axes[1, channel]
        wave.plot(time_s, channels[channel], linewidth=0.3, color="#1f4e79")
        wave.set(title=f"channel {channel}: {name}", ylim=(-np.abs(channels).max(), np.abs(channels).max()))
        show(picture, image[channel], float(image[1].max()) - 12.0, float(image.max()))
        picture.set(xlabel="time, s")
    axes[0, 0].set_ylabel("amplitude")
    axes[1, 1].set_ylabel("")
    figure.colorbar(axes[1, 1].images[0], ax=axes[1, :], label="log power")
    return figure


@styled
def draw_filters() -> Figure:
    """Draw every eighth filter of both banks."""
    figure = Figure(figsize=(7.0, 2.6), layout="constrained")
    axes = figure.subplots(1, 2, sharex=True)
    bins_hz = np.arange(MEL.n_fft // 2 + 1) * RATE / MEL.n_fft
    banks = {
        "mel": mel_filters(RATE, MEL.n_fft, MEL.n_bands, MEL.low_hz, RATE / 2),
        "gammatone": gammatone_filters(RATE, MEL.n_fft, MEL.n_bands, MEL.low_hz),
    }
    for axis, (name, bank) in zip(axes, banks.items(), strict=True):
        for band in range(3, MEL.n_bands, 8):
            axis.plot(bins_hz, bank[band] / bank[band].max(), color="#1f4e79", linewidth=0.9)
        axis.set(title=f"{name}: every eighth of {MEL.n_bands} filters", xlabel="frequency, Hz")
        axis.set(xscale="log", xlim=(100, RATE / 2))
    axes[0].set_ylabel("weight of the power")
    return figure


@styled
def draw_mixing() -> Figure:
    """Draw two standardised images, their mixture and its label."""
    images = LogSpectrogram(AUDIO, MEL)(np.stack([segment(scene) for scene in SCENES]))
    standardise = Standardise(MEL.n_bands, MEL.clamp)
    standardise.fit(torch.from_numpy(images))
    one, other = standardise(torch.from_numpy(images)).split(1)
    ratio = torch.tensor([RATIO])
    mixed = mix_images(one, other, ratio)
    label = mix_labels(torch.tensor([0]), torch.tensor([1]), ratio, 2)[0]
    figure = Figure(figsize=(7.0, 3.2), layout="constrained")
    axes = figure.subplots(1, 3, sharey=True)
    texts = [f"{scene}: [{1 - i}, {i}]" for i, scene in enumerate(SCENES)]
    titles = (*texts, f"mixed, r = {RATIO:g}: [{label[0]:.1f}, {label[1]:.1f}]")
    for axis, image, title in zip(axes, (one, other, mixed), titles, strict=True):
        show(axis, image[0, 0].numpy(), -3.0, 3.0)
        axis.set(title=title, xlabel="time, s")
    for axis in axes[1:]:
        axis.set_ylabel("")
    figure.colorbar(axes[2].images[0], ax=axes, label="deviations")
    return figure


def show(axis: Axes, image: Float[np.ndarray, "band frame"], lowest: float, highest: float) -> None:
    """Draw one channel of an image, low bands at the bottom."""
    seconds = image.shape[1] * MEL.hop / RATE
    extent = (0.0, seconds, -0.5, MEL.n_bands - 0.5)
    axis.imshow(
        image, origin="lower", aspect="auto", cmap="magma", interpolation="nearest", vmin=lowest, vmax=highest, extent=extent
    )
    hertz_axis(axis, mel_centres_hz(MEL.n_bands, MEL.low_hz, RATE / 2))
    axis.grid(False)


if __name__ == "__main__":
    main()
