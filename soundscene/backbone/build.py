"""From a stored backbone to one that computes."""

from typing import Any

from soundscene.backbone.encoder import LEVEL, POOLINGS, Backbone, Pooling
from soundscene.backbone.stored import StoredBackbone
from soundscene.errors import BackboneError
from soundscene.texts import short


def build(
    stored: StoredBackbone,
    pooling: Pooling = "mean",
    patch_hop_s: float | None = None,
    level: float | None = LEVEL,
    probe: bool = False,
) -> Backbone:
    """Build what computes embeddings.

    Args:
        stored: Weights.
        pooling: How a segment's embedding is made of those of its patches.
        patch_hop_s: Seconds from one patch to the next; by default half a patch.
        level: That YAMNet brings each segment to; None keeps it. An encoder in ONNX reads samples as they are.
        probe: Whether an encoder in ONNX is computed on noise, and refused where its embeddings cannot be used.

    Raises:
        BackboneError: The weights fit no network.
        SceneError: A package is missing.
    """
    if pooling not in POOLINGS:
        raise BackboneError(f"pooling {short(repr(pooling))}: allowed are {', '.join(POOLINGS)}")
    if stored.kind == "onnx":
        from soundscene.backbone.onnx import OnnxBackbone  # needs ONNX Runtime

        return OnnxBackbone(stored, pooling, patch_hop_s, probe)
    from soundscene.backbone.yamnet import YamnetBackbone

    return YamnetBackbone(stored, pooling, patch_hop_s, level)


def preparation(backbone: Backbone) -> dict[str, float | None]:
    """Return what `build` needs beside weights and pooling to make the same embeddings: `level` and `patch_hop_s`.

    Args:
        backbone: From `build`.
    """
    return {name: getattr(backbone, name, None) for name in ("level", "patch_hop_s")}


def stored_preparation(header: dict[str, Any], has_softmax: bool) -> tuple[float | None, float | None]:
    """Return the seconds between patches and the level that `preparation` has written into the header of a member.

    Args:
        header: Of the member. Files of before the level name neither; those have no softmax layer either.
        has_softmax: Whether the member has a softmax layer.

    Raises:
        ValueError: A value is no positive number.
    """
    values = {"patch_hop_s": header.get("patch_hop_s"), "level": header.get("level", LEVEL if has_softmax else None)}
    for name, value in values.items():
        if value is not None and not (type(value) in (int, float) and 1e-3 <= value <= 1e3):
            raise ValueError(f"{name} is {short(repr(value))}, expected a number from 0.001 to 1000, or none")
    return values["patch_hop_s"], values["level"]
