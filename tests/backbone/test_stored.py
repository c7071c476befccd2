"""Files of backbones, where they are kept, and what is said where they are not."""

import json
from contextlib import suppress
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import save_file

from soundscene.backbone.packing import pack, unpack
from soundscene.backbone.stored import FORMAT, StoredBackbone, data_folder, find, installed
from soundscene.errors import BackboneError
from soundscene.tensors import digest
from tests.support.yamnet import small


@pytest.fixture
def file(tmp_path: Path) -> Path:
    small().save(tmp_path / "b.safetensors")
    return tmp_path / "b.safetensors"


def test_every_flipped_byte_and_every_cut_is_refused_or_harmless(file: Path, tmp_path: Path) -> None:
    data, weights = file.read_bytes(), StoredBackbone.load(file).digest
    other = tmp_path / "other.safetensors"
    draws = np.random.default_rng(0)
    for at in [*range(0, 60), *draws.integers(0, len(data), 60)]:
        changed = bytearray(data)
        changed[at] ^= 1 << int(draws.integers(0, 8))
        other.write_bytes(changed)
        with suppress(BackboneError):
            assert StoredBackbone.load(other).digest == weights
    for size in (0, 7, 8, 100, len(data) // 2, len(data) - 1):
        other.write_bytes(data[:size])
        with pytest.raises(BackboneError, match="damaged or not a"):
            StoredBackbone.load(other)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"version": 2}, "written in format 2, this soundscene reads up to 1; upgrade"),
        ({"version": True}, "of version True"),
        ({"kind": "vggish"}, "of kind 'vggish', expected one of yamnet, onnx"),
        ({"sample_rate": 16000.0}, "sample rate 16000.0, expected whole hertz"),
        ({"sample_rate": 10**9}, "expected whole hertz from 2000 to 384000"),
        ({"licence": None}, "licence is None, expected a text"),
    ],
)
def test_headers_that_say_something_else_are_refused(changes: dict, message: str, tmp_path: Path) -> None:
    stored = small()
    header = json.dumps({**stored.header(), **changes})
    metadata = {"format": FORMAT, "header": header, "sha256": digest(header, stored.tensors)}
    save_file(stored.tensors, tmp_path / "b.safetensors", metadata)
    with pytest.raises(BackboneError, match=message):
        StoredBackbone.load(tmp_path / "b.safetensors")


def test_other_files_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "b.safetensors"
    with pytest.raises(BackboneError, match="no such file; make it by `soundscene backbone yamnet"):
        StoredBackbone.load(path)
    with pytest.raises(BackboneError, match="is a folder"):
        StoredBackbone.load(tmp_path)
    save_file({"x": torch.zeros(2)}, path)
    with pytest.raises(BackboneError, match="but not a backbone of soundscene"):
        StoredBackbone.load(path)
    save_file({"x": torch.zeros(2)}, path, {"format": FORMAT, "header": "[" * 10**5, "sha256": ""})
    with pytest.raises(BackboneError, match="its header is damaged"):
        StoredBackbone.load(path)


def test_the_folder_of_the_users_data(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("SOUNDSCENE_DATA", str(tmp_path))
    assert installed("yamnet") == tmp_path / "backbones" / "yamnet.safetensors"
    monkeypatch.delenv("SOUNDSCENE_DATA")
    monkeypatch.setattr("sys.platform", "linux")
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path / "data"))
    assert data_folder() == tmp_path / "data" / "soundscene"
    for relative in ("", "somewhere"):  # a relative path is to be ignored, by the specification
        monkeypatch.setenv("XDG_DATA_HOME", relative)
        assert data_folder() == Path.home() / ".local" / "share" / "soundscene"
    monkeypatch.setattr("sys.platform", "darwin")
    assert data_folder() == Path.home() / "Library" / "Application Support" / "soundscene"


def test_a_backbone_that_is_not_there_says_what_to_do(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("SOUNDSCENE_DATA", str(tmp_path))
    with pytest.raises(BackboneError) as error:
        find("yamnet")
    assert str(error.value) == (
        f"system yamnet needs its pretrained weights, and {installed('yamnet')} is not there: take yamnet.tflite from its "
        "publisher (docs/guide/transfer.md) and run `soundscene backbone yamnet --from yamnet.tflite`, or give "
        "--backbone FILE"
    )
    small().save(installed("yamnet"))
    assert find("yamnet").digest == small().digest
    small(3).save(tmp_path / "mine.safetensors")
    assert find("yamnet", tmp_path / "mine.safetensors").digest == small(3).digest


def test_a_place_that_cannot_be_written_is_one_line(tmp_path: Path) -> None:
    (tmp_path / "sub").write_text("a file, where a folder would have to be")
    with pytest.raises(BackboneError, match="cannot be written"):
        small().save(tmp_path / "sub" / "b.safetensors")


# --- packing --------------------------------------------------------------------------------------------------------------


def test_products_of_integers_and_scales_take_8_bits_and_lose_nothing() -> None:
    draws = torch.Generator().manual_seed(0)
    integers = torch.randint(-127, 128, (64, 128, 1, 1), generator=draws)
    integers[:, 0] = 127
    scale = torch.rand(64, generator=draws) + 0.01
    weight = integers.float() * scale.reshape(-1, 1, 1, 1)
    packed = pack({"w": weight})
    assert packed["w"].dtype == torch.int8
    torch.testing.assert_close(unpack(packed)["w"], weight, rtol=2e-7, atol=0)


def test_other_weights_take_16_bits_and_small_ones_stay() -> None:
    draws = torch.Generator().manual_seed(0)
    tensors = {
        "w": torch.randn(64, 128, generator=draws),
        "b": torch.randn(8000, generator=draws),
        "zero": torch.zeros(64, 64),
    }
    packed = pack(tensors)
    assert {name: t.dtype for name, t in packed.items()} == {
        "w": torch.float16, "b": torch.float32, "zero": torch.int8, "zero.scale": torch.float32,
    }  # fmt: skip
    again = unpack(packed)
    assert torch.equal(again["b"], tensors["b"])
    assert torch.equal(again["zero"], tensors["zero"])
    torch.testing.assert_close(again["w"], tensors["w"], rtol=5e-4, atol=1e-6)
    lossy = unpack(pack(tensors, "int8"))["w"]
    assert 0.002 < float((lossy - tensors["w"]).abs().max()) < 0.02
    assert pack(tensors, "float32") == tensors
