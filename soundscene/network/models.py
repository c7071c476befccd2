"""The two networks of the paper: Att-CRNN (Figure 1) and the CNN baseline (section 4.4).

Both have the same interface: `embed` returns what the softmax layer and the SVM read, `forward` the logits of the
softmax layer. Both standardise their input themselves, so that an image from the front-end is all they need.
"""

import torch
from jaxtyping import Float
from torch import Tensor, nn

from soundscene.errors import RecipeError
from soundscene.network.attention import SpatioTemporalAttentionPool
from soundscene.network.blocks import POOL, BidirectionalGRU, ConvStack, FrameProjection, Standardise
from soundscene.recipe import Recipe


class AttCRNN(nn.Module):
    """Att-CRNN: convolutions, bidirectional GRUs, spatio-temporal attention pooling, softmax layer.

    A recipe may take parts away for comparison: attention (`network.pooling`) or the GRUs (`network.recurrent`).

    Args:
        recipe: Sizes of images and layers.
        n_scenes: Number of scenes.

    Shape:
        Images [batch, 2, band, frame], embedding x [batch, 2H], logits [batch, scene].
    """

    def __init__(self, recipe: Recipe, n_scenes: int) -> None:
        super().__init__()
        sizes = recipe.network
        self.standardise = Standardise(recipe.features.n_bands, recipe.features.clamp, n_channels(recipe))
        self.convolutions = ConvStack(sizes.filters, sizes.conv_dropout, n_channels(recipe))
        n_features = recipe.features.n_bands // POOL**3 * sizes.filters[-1]
        frames_of = BidirectionalGRU if sizes.recurrent == "gru" else FrameProjection
        self.recurrent = frames_of(n_features, sizes.hidden, sizes.recurrent_dropout)
        self.attention = None
        if sizes.pooling != "last":
            self.attention = SpatioTemporalAttentionPool(
                2 * sizes.hidden,
                n_frames(recipe),
                sizes.attention,
                sizes.attention_scale,
                sizes.pooling,
                sizes.attention_temperature,
                sizes.attention_context,
            )
        self.softmax = nn.Linear(2 * sizes.hidden, n_scenes)

    def recur(self, standardised: Float[Tensor, "batch channel band frame"]) -> Float[Tensor, "batch frame recurrent"]:
        """Return the recurrent output Z of equation (1)."""
        return self.recurrent(self.convolutions(standardised).transpose(1, 2))

    def pool(self, standardised: Float[Tensor, "batch channel band frame"]) -> Float[Tensor, "batch embedding"]:
        """Return the feature vector x of equation (9), or the last states of the GRUs if the recipe says so."""
        if self.attention is not None:
            return self.attention(self.recur(standardised))
        assert isinstance(self.recurrent, BidirectionalGRU)  # the recipe refuses other combinations
        return self.recurrent.last(self.convolutions(standardised).transpose(1, 2))

    def embed(self, images: Float[Tensor, "batch 2 band frame"]) -> Float[Tensor, "batch embedding"]:
        """Return the feature vector x of equation (9)."""
        return self.pool(self.standardise(images))

    def attend(
        self, images: Float[Tensor, "batch 2 band frame"]
    ) -> tuple[Float[Tensor, "batch recurrent"], Float[Tensor, "batch frame"]]:
        """Return the spatial and temporal attention vectors, whose outer product is the mask A of equation (8).

        Raises:
            ValueError: The network has no attention.
        """
        if self.attention is None:
            raise ValueError("the network pools the last states of its GRUs and has no attention")
        return self.attention.attend(self.recur(self.standardise(images)))

    def from_standardised(self, standardised: Float[Tensor, "batch channel band frame"]) -> Float[Tensor, "batch scene"]:
        """Return logits of images that are standardised already: training mixes after standardisation."""
        return self.softmax(self.pool(standardised))

    def forward(self, images: Float[Tensor, "batch 2 band frame"]) -> Float[Tensor, "batch scene"]:
        """Return logits of images from the front-end."""
        return self.softmax(self.embed(images))


class CNNBaseline(nn.Module):
    """CNN baseline: the convolutional stack and global pooling over the remaining bands and frames (section 4.4).

    The paper pools the maximum. The mean is there for comparison (docs/decisions/0101).

    Args:
        recipe: Sizes of images and layers.
        n_scenes: Number of scenes.

    Shape:
        Images [batch, 2, band, frame], embedding [batch, filters[-1]], logits [batch, scene].
    """

    def __init__(self, recipe: Recipe, n_scenes: int) -> None:
        super().__init__()
        sizes = recipe.network
        self.standardise = Standardise(recipe.features.n_bands, recipe.features.clamp, n_channels(recipe))
        self.convolutions = ConvStack(sizes.filters, sizes.conv_dropout, n_channels(recipe))
        self.mean = sizes.global_pooling == "mean"
        self.softmax = nn.Linear(sizes.filters[-1], n_scenes)

    def pool(self, standardised: Float[Tensor, "batch channel band frame"]) -> Float[Tensor, "batch embedding"]:
        """Return the largest value of each filter over bands and frames, or its mean if the recipe says so."""
        maps = self.convolutions.maps(standardised)
        return maps.mean(dim=(2, 3)) if self.mean else maps.amax(dim=(2, 3))

    def embed(self, images: Float[Tensor, "batch 2 band frame"]) -> Float[Tensor, "batch embedding"]:
        """Return the globally pooled feature vector."""
        return self.pool(self.standardise(images))

    def from_standardised(self, standardised: Float[Tensor, "batch channel band frame"]) -> Float[Tensor, "batch scene"]:
        """Return logits of images that are standardised already: training mixes after standardisation."""
        return self.softmax(self.pool(standardised))

    def forward(self, images: Float[Tensor, "batch 2 band frame"]) -> Float[Tensor, "batch scene"]:
        """Return logits of images from the front-end."""
        return self.softmax(self.embed(images))


Network = AttCRNN | CNNBaseline


def n_frames(recipe: Recipe) -> int:
    """Return T, the frames of a segment: 44100 // 551 = 80 in the paper."""
    return recipe.audio.segment_samples // recipe.features.hop


def n_channels(recipe: Recipe) -> int:
    """Return K, the channels of the image that the network reads: 2, or 1 without the noise-subtracted one."""
    return 2 if recipe.network.noise_subtracted else 1


def build_network(recipe: Recipe, n_scenes: int) -> Network:
    """Build the network of a recipe, initialised from PyTorch's global generator, in channels-last layout.

    Channels-last is PyTorch's fast layout for convolutions on CPUs and GPUs. It changes no result beyond rounding.

    Args:
        recipe: Sizes of images and layers.
        n_scenes: Number of scenes.

    Raises:
        RecipeError: If three poolings by 4 do not divide the bands.
    """
    check_bands(recipe)
    model = AttCRNN if recipe.network.kind == "att-crnn" else CNNBaseline
    return model(recipe, n_scenes).to(memory_format=torch.channels_last)  # pyright: ignore[reportCallIssue]


def check_bands(recipe: Recipe) -> None:
    """Check that a network can be built for a recipe's images, before anything is read.

    Raises:
        RecipeError: If three poolings by 4 do not divide the bands.
    """
    if recipe.features.n_bands % POOL**3:
        raise RecipeError(
            f"recipe value features.n_bands: {recipe.features.n_bands} is not a multiple of {POOL**3}, "
            "which three poolings by 4 need (Table 1)"
        )
