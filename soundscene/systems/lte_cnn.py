"""The network of LTE-CNN [6] on embedding images: its filters, its images, and its predictions of recordings.

Source: Phan, Hertel, Maass, Koch, Mazur and Mertins 2017, of which the abstract could be read, and its author's public code
(facts, not code). What is theirs and what is ours: docs/decisions/0116-label-trees.md.
"""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Bool, Float, Float32
from torch import Tensor, nn
from torch.nn import functional

from soundscene.data.corpus import Corpus
from soundscene.network.svm import CalibratedSVM
from soundscene.scoring.fusion import product_by_recording, temper
from soundscene.systems.low_level import Stretches
from soundscene.systems.pieces import softmax_of_embedding
from soundscene.systems.system import SystemPredictions
from soundscene.systems.whole import voting_recordings


class LteCnnNetwork(nn.Module):
    """Classify embedding images: filters that span all values, ReLU, maximum over time, softmax layer.

    Args:
        n_in: Values of an embedding.
        widths: Lengths of the filters.
        filters: Filters of each length.
        n_scenes: Number of scenes.
        dropout: Dropout probability of the maxima.

    Shape:
        Images [recording, stretch, n_in + 1], whose last column is 1 where there is a stretch and 0 where the image is
        padded; embedding [recording, maximum]; logits [recording, scene].
    """

    def __init__(self, n_in: int, widths: Sequence[int], filters: int, n_scenes: int, dropout: float) -> None:
        super().__init__()
        self.widths = tuple(widths)
        self.convolutions = nn.ModuleList(nn.Conv1d(n_in, filters, width) for width in widths)
        self.dropout = nn.Dropout(dropout)
        self.softmax = nn.Linear(filters * len(widths), n_scenes)

    def embed(self, images: Float[Tensor, "recording stretch column"]) -> Float[Tensor, "recording maximum"]:
        """Return the maximum over time of each filter, over places where it fits into the recording.

        A recording shorter than a filter has one place, at its start, which sees zeros behind the recording.
        """
        n = images[..., -1].sum(dim=1)
        values = images[..., :-1].transpose(1, 2)
        maxima = []
        for width, convolution in zip(self.widths, self.convolutions, strict=True):
            maps = torch.relu(convolution(functional.pad(values, (0, max(0, width - values.shape[2])))))
            place = torch.arange(maps.shape[2], device=maps.device)
            outside = place[None] > (n - width).clamp(min=0)[:, None]
            maxima.append(maps.masked_fill(outside[:, None], -math.inf).amax(dim=2))
        return torch.cat(maxima, dim=1)

    def forward(self, images: Float[Tensor, "recording stretch column"]) -> Float[Tensor, "recording scene"]:
        """Return logits of images."""
        return self.softmax(self.dropout(self.embed(images)))


@dataclass(frozen=True)
class LteCnnModel:
    """The model of LTE-CNN, which classifies recordings as a whole.

    Attributes:
        network: The network.
        scenes: Names in the order of posteriors.
        read: Makes the embedding images of the recordings of a corpus that vote, of which there is one or more.
        svm: SVM on the maxima, None while the network trains.
        temperature: Of each head.
    """

    network: LteCnnNetwork
    scenes: tuple[str, ...]
    read: Callable[[Corpus], Float32[np.ndarray, "recording longest column"]]
    svm: CalibratedSVM | None = None
    temperature: Mapping[str, float] | None = None


def embedding_images(
    embedded: Float32[np.ndarray, "stretch value"], stretches: Stretches, kept: Bool[np.ndarray, " stretch"]
) -> Float32[np.ndarray, "recording longest column"]:
    """Arrange embeddings as an image for each recording that has a stretch, padded to the longest.

    Args:
        embedded: Of all stretches.
        stretches: Which recordings they are of.
        kept: Which of them belong into an image.

    Returns:
        Images whose last column tells the stretches, silent ones among them, from the padding.
    """
    of, start, n = np.unique(stretches.recording[kept], return_index=True, return_counts=True)
    images = np.zeros((len(of), n.max(initial=0), embedded.shape[1] + 1), np.float32)
    images[..., -1] = np.arange(images.shape[1]) < n[:, None]
    images[images[..., -1] == 1, :-1] = embedded[kept]  # both in the order of recordings, then of time
    assert (np.diff(start) > 0).all()
    return images


def filter_widths(
    wanted: Sequence[int], images: Float32[np.ndarray, "recording longest column"]
) -> tuple[list[int], tuple[str, ...]]:
    """Choose the filters that fit into half of the training recordings or more; a few short ones take none away.

    Args:
        wanted: Lengths of the settings, the shortest first.
        images: Of the training recordings.

    Returns:
        Lengths, at least one, and a note if they are not those of the settings.
    """
    median = int(np.median(images[..., -1].sum(axis=1)))
    widths = [width for width in wanted if width <= median] or [min(wanted[0], median)]
    if widths == list(wanted):
        return widths, ()
    used, settings = (", ".join(map(str, lengths)) for lengths in (widths, wanted))
    return widths, (f"filters of {used} stretches, not {settings}: the median training recording has {median}",)


def predict_lte_cnn(model: LteCnnModel, corpus: Corpus) -> Mapping[str, SystemPredictions]:
    """Predict recordings as a whole. Digital silence does not vote.

    Args:
        model: The model.
        corpus: Low-level features.
    """
    of = voting_recordings(corpus)
    heads = {"softmax": np.zeros((0, len(model.scenes)))} | ({"svm": np.zeros((0, len(model.scenes)))} if model.svm else {})
    if len(of):
        images = torch.from_numpy(model.read(corpus))
        device = model.network.softmax.weight.device
        with torch.no_grad():
            logits, maxima = softmax_of_embedding(model.network, images.to(device))
            heads["softmax"] = logits.double().log_softmax(-1).cpu().numpy()
            if model.svm:
                heads["svm"] = model.svm(maxima.cpu()).numpy()
    found = {}
    for head, log_posterior in heads.items():
        recording = product_by_recording(log_posterior, of, len(corpus.recordings))
        calibrated = temper(recording, (model.temperature or {}).get(head, 1.0))
        no_segments = np.zeros((0, len(model.scenes)))
        found[head] = SystemPredictions(no_segments, np.zeros(0, np.int64), recording, calibrated)
    return found
