"""YAMNet's layers against plain arithmetic, with TensorFlow's rule of padding."""

import numpy as np
import pytest
import torch
from scipy.signal import correlate2d

from soundscene.network.yamnet import LAYERS, YAMNet, convolve


@pytest.mark.parametrize("stride", [1, 2])
@pytest.mark.parametrize("size", [(6, 4), (5, 7), (3, 2), (1, 1)])
def test_padding_is_tensorflows(stride: int, size: tuple[int, int]) -> None:
    """Output i reads input stride * i + k - before, where `before` is half of the padding, rounded down."""
    layer = torch.nn.Conv2d(1, 1, 3, stride, padding=1 if stride == 1 else 0)
    x = torch.randn(1, 1, *size, generator=torch.Generator().manual_seed(0))
    before = [max((-(-n // stride) - 1) * stride + 3 - n, 0) // 2 for n in size]
    with torch.no_grad():
        layer.bias.fill_(0.5)  # type: ignore[union-attr]
        ours = convolve(layer, x)[0, 0].numpy()
        kernel = layer.weight[0, 0].numpy()
    padded = np.pad(x[0, 0].numpy(), [(b, 3) for b in before])
    full = correlate2d(padded, kernel, mode="valid")[::stride, ::stride]
    expected = full[: -(-size[0] // stride), : -(-size[1] // stride)] + 0.5
    np.testing.assert_allclose(ours, expected, rtol=1e-5, atol=1e-6)


def test_sizes_are_the_published_ones() -> None:
    with torch.device("meta"):
        network = YAMNet()
        patches = torch.empty(2, 96, 64)
        assert network.embed(patches).shape == (2, 1024)
        assert network(patches).shape == (2, 521)
    assert sum(p.numel() for p in network.parameters()) == 3_729_481  # 3.7 million
    assert len(LAYERS) == 13


def test_an_eighth_of_the_width() -> None:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        network = YAMNet(4, 7).eval()
    patches = torch.randn(40, 96, 64)
    with torch.inference_mode():
        whole = network.embed(patches)
        assert whole.shape == (40, 128)
        assert network(patches).shape == (40, 7)
        torch.testing.assert_close(whole[17:18], network.embed(patches[17:18]), atol=1e-6, rtol=1e-4)
    assert (whole >= 0).all()  # averages after ReLU


def test_a_network_without_classes_only_embeds() -> None:
    network = YAMNet(1, 0)
    assert network.embed(torch.zeros(1, 96, 64)).shape == (1, 32)
    with pytest.raises(ValueError, match="built without its classes"):
        network(torch.zeros(1, 96, 64))
