"""From a stored backbone to one that computes."""

from soundscene.backbone.encoder import POOLINGS, Backbone, Pooling
from soundscene.backbone.stored import StoredBackbone
from soundscene.errors import BackboneError
from soundscene.texts import short


def build(stored: StoredBackbone, pooling: Pooling = "mean", patch_hop_s: float | None = None) -> Backbone:
    """Build what computes embeddings.

    Args:
        stored: Weights.
        pooling: How a segment's embedding is made of those of its patches.
        patch_hop_s: Seconds from one patch to the next; by default half a patch.

    Raises:
        BackboneError: The weights fit no network.
        SceneError: A package is missing.
    """
    if pooling not in POOLINGS:
        raise BackboneError(f"pooling {short(repr(pooling))}: allowed are {', '.join(POOLINGS)}")
    if stored.kind == "onnx":
        from soundscene.backbone.onnx import OnnxBackbone  # needs ONNX Runtime

        return OnnxBackbone(stored, pooling, patch_hop_s)
    from soundscene.backbone.yamnet import YamnetBackbone

    return YamnetBackbone(stored, pooling, patch_hop_s)
