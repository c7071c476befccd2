"""The graph of a model: blocks of samples and a state in, segments and the state out; or a whole recording in one call."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import onnx

from soundscene.errors import SceneError
from soundscene.export.backbone import add_embedding, add_patches, add_softmax_layer, backbone_of, patches_of
from soundscene.export.frontend import (
    COUNTS,
    Block,
    Reach,
    Segments,
    add_images,
    add_noise_subtraction,
    add_recorded,
    add_segments,
    add_silent,
    add_waves,
    state_shapes,
)
from soundscene.export.graph import BOOL, F32, F64, INT, Graph
from soundscene.export.networks import (
    add_distance,
    add_energy,
    add_network,
    add_product,
    add_renormalised,
    add_softmax,
    add_svm,
)
from soundscene.export.resampler import add_resampled, measure
from soundscene.graph_facts import GIVEN, HEADS
from soundscene.member import BackboneMember, NetworkMember, networks_of
from soundscene.model import Model
from soundscene.types import Head


@dataclass(frozen=True)
class Output:
    """An output of each segment.

    Attributes:
        name: Its name.
        dtype: Its type.
        shape: Its shape, without the axis of segments.
    """

    name: str
    dtype: np.dtype
    shape: tuple[int, ...]


def members_of(model: Model) -> list[NetworkMember | BackboneMember]:
    """Return the members of a model that can be exported.

    Raises:
        SceneError: One of them cannot.
    """
    members = []
    for member in model.members:
        if isinstance(member, BackboneMember):
            backbone_of(member)
        elif not isinstance(member, NetworkMember):
            raise SceneError(f"export: member {member.name} is of a kind that is not exported; use the model file as it is")
        members.append(member)
    return members


def images_of(member: NetworkMember | BackboneMember) -> Output:
    """Return what a member reads of a segment as an output: log spectrograms, or the log-mel image of a backbone."""
    if isinstance(member, BackboneMember):
        patches = patches_of(member)
        return Output(f"prepared/{member.name}", F32, (patches.n_frames, patches.filters.shape[1]))
    features, audio = member.recipe.features, member.recipe.audio
    return Output(f"images/{member.name}", F32, (2, features.n_bands, audio.segment_samples // features.hop))


def outputs_of(model: Model) -> list[Output]:
    """Return the outputs of each segment: posteriors first, then unfamiliarity, then those of each member."""
    n_scenes = len(model.scenes)
    outputs = [Output(f"log_posterior_{head}", F64, (n_scenes,)) for head in HEADS]
    if model.familiarity:
        outputs.append(Output("unfamiliarity", F64, ()))
    for member in members_of(model):
        if isinstance(member, BackboneMember):
            outputs.append(Output(f"embedding/{member.name}", F32, (member.backbone.n_features,)))
            continue
        image = images_of(member)
        frames = image.shape[-1]
        outputs.append(image)
        outputs.append(Output(f"embedding/{member.name}", F32, (member.network.softmax.in_features,)))
        if member.has_attention:
            outputs.append(Output(f"temporal_attention/{member.name}", F32, (frames,)))
            outputs.append(Output(f"spatial_attention/{member.name}", F32, (2 * member.recipe.network.hidden,)))
    return outputs


def stateful_graph(model: Model, metadata: dict[str, str], int8: bool = False) -> onnx.ModelProto:
    """Write the graph that takes a recording block by block.

    Args:
        model: The model.
        metadata: Texts to keep in the file.
        int8: Whether the weights of the networks are kept in 8 bits.
    """
    g = Graph("soundscene", int8=int8)
    members = members_of(model)
    shapes = state_shapes(model.audio, bool(networks_of(members)))
    block = Block(g.input("samples", F32, ["sample"]), g.input("last", BOOL, []), g.input("hop", INT, []))
    state = {name: g.input(f"state_{name}", *shape) for name, shape in shapes.items()}
    after, segments = _segments(g, model, block, state)
    after |= segments.state
    counts = [g.op("Reshape", after[name], g.ints(1)) for name in COUNTS]
    after["counts"] = g.op("Concat", *counts, axis=0)

    starts_s = g.op("Div", g.cast(segments.starts, F64), g.constant(model.audio.sample_rate, F64))
    g.output(starts_s, "start_s", F64, ["segment"])
    outputs = [Output("silent", BOOL, ()), *outputs_of(model)]
    given = [
        g.optional_input(f"{GIVEN}{one.name}", one.dtype, ["given", *one.shape])
        for one in (images_of(member) for member in members if len(networks_of(members)) == len(members))
    ]
    for value, one in zip(_of_segments(g, model, block, segments, given), outputs, strict=True):
        g.output(value, one.name, one.dtype, ["segment", *one.shape])
    for name, (dtype, shape) in shapes.items():
        after_shape = [f"next_{size}" if isinstance(size, str) else size for size in shape]
        g.output(after[name], f"next_{name}", dtype, after_shape)
    return g.model(metadata)


def whole_graph(model: Model, metadata: dict[str, str], int8: bool = False) -> onnx.ModelProto:
    """Write the graph that takes a recording in one call, for recordings of minutes: its memory grows with them.

    Args:
        model: The model.
        metadata: Texts to keep in the file.
        int8: Whether the weights of the networks are kept in 8 bits.
    """
    g = Graph("soundscene_whole", int8=int8)
    samples = g.input("samples", F32, ["sample"])
    block = Block(samples, g.constant(True, BOOL), g.constant(model.audio.segment_samples, INT))
    state = {
        name: g.constant(np.zeros([0 if isinstance(size, str) else size for size in shape]), dtype)
        for name, (dtype, shape) in state_shapes(model.audio, bool(networks_of(model.members))).items()
    }
    _, segments = _segments(g, model, block, state)
    outputs = outputs_of(model)
    silent, *values = _of_segments(g, model, block, segments)
    by_name = dict(zip((one.name for one in outputs), values, strict=True))
    voting = g.op("Not", silent)
    for head in HEADS:
        mute = g.op("Where", g.op("Unsqueeze", voting, g.ints(1)), by_name[f"log_posterior_{head}"], g.constant(0.0, F64))
        fused = add_renormalised(g, g.op("ReduceSum", mute, g.ints(0), keepdims=0))
        tempered = g.op("Div", fused, g.constant(model.temperature[head], F64))
        g.output(g.op("Exp", add_renormalised(g, tempered)), f"posterior_{head}", F64, [len(model.scenes)])
    n_voting = g.op("ReduceSum", g.cast(voting, F64), g.ints(0), keepdims=0)
    if model.familiarity:
        mute = g.op("Where", voting, by_name["unfamiliarity"], g.constant(0.0, F64))
        mean = g.op("Div", g.op("ReduceSum", mute, g.ints(0), keepdims=0), g.op("Max", n_voting, g.constant(1.0, F64)))
        g.output(mean, "recording_unfamiliarity", F64, [])
    g.output(
        g.op("Div", g.cast(segments.starts, F64), g.constant(model.audio.sample_rate, F64)), "start_s", F64, ["segment"]
    )
    g.output(silent, "silent", BOOL, ["segment"])
    for one in outputs:
        g.output(by_name[one.name], one.name, one.dtype, ["segment", *one.shape])
    return g.model(metadata)


def _segments(g: Graph, model: Model, block: Block, state: dict[str, str]) -> tuple[dict[str, str], Segments]:
    """The segments that a block completes, and what the state holds besides."""
    reach = Reach()
    for member in members_of(model):
        if isinstance(member, BackboneMember) and member.backbone.sample_rate != model.audio.sample_rate:
            reach |= measure(model.audio.sample_rate, member.backbone.sample_rate).reach
    subtracts = bool(networks_of(model.members))
    after, known = add_noise_subtraction(g, model.audio, block, state) if subtracts else add_recorded(g, block, state)
    return after, add_segments(g, model.audio, block, state, known, reach)


def _of_segments(g: Graph, model: Model, block: Block, segments: Segments, given: Sequence[str] = ()) -> list[str]:
    """Silence and `outputs_of` of each segment; of none, the network is not run.

    Args:
        g: The graph.
        model: The model.
        block: Inputs.
        segments: Of the samples.
        given: Images of each member, for which the network is run where the samples complete no segment.
    """
    images = [images_of(member) for member in members_of(model)]
    outputs = outputs_of(model)

    def heard(b: Graph) -> list[str]:
        waves = add_waves(b, model.audio, segments, 2 if networks_of(model.members) else 1)
        return [add_silent(b, waves), *_prepared(b, model, block, segments, waves)]

    def unheard(b: Graph) -> list[str]:
        return [b.constant([], BOOL), *(given or _nothing(b, images))]

    silent, *found = g.either(g.op("Greater", segments.n, g.constant(0, INT)), heard, unheard)
    some = g.op("Greater", g.size(found[0], 0), g.constant(0, INT))
    return [silent, *g.either(some, lambda b: _members(b, model, found), lambda b: _nothing(b, outputs))]


def _prepared(g: Graph, model: Model, block: Block, segments: Segments, waves: str) -> list[str]:
    """What each member reads of one segment or more."""
    networks = networks_of(model.members)
    recipes = [member.recipe.features for member in networks]
    images = iter(add_images(g, model.audio, recipes, waves) if networks else [])
    resampled: dict[int, str] = {}  # by rate
    found = []
    for member in members_of(model):
        if isinstance(member, NetworkMember):
            found.append(next(images))
            continue
        rate = member.backbone.sample_rate
        if rate not in resampled:
            resampled[rate] = add_resampled(g, model.audio, segments, block, rate)
        found.append(add_patches(g, patches_of(member), resampled[rate]))
    return found


def _nothing(g: Graph, outputs: Sequence[Output]) -> list[str]:
    return [g.constant(np.zeros((0, *one.shape)), one.dtype) for one in outputs]


@dataclass(frozen=True)
class _Member:
    """What is computed of a member: its embedding, log posteriors by head, logits if it is a network, and outputs."""

    embedding: str
    by_head: dict[Head, str]
    logits: str | None
    outputs: list[str]


def _members(g: Graph, model: Model, prepared: Sequence[str]) -> list[str]:
    computed = [
        _network(g, member, read) if isinstance(member, NetworkMember) else _backbone(g, member, read)
        for member, read in zip(members_of(model), prepared, strict=True)
    ]
    values = [add_product(g, [one.by_head[head] for one in computed]) for head in HEADS]
    if model.familiarity:
        if model.familiarity.kind != "energy":
            pairs = zip(model.familiarity.gaussians, computed, strict=True)
            scores = [add_distance(g, gaussians, one.embedding) for gaussians, one in pairs]
        else:
            scores = [add_energy(g, one.logits) for one in computed if one.logits is not None]
        values.append(_mean(g, scores))
    return [*values, *(value for one in computed for value in one.outputs)]


def _network(g: Graph, member: NetworkMember, images: str) -> _Member:
    found = add_network(g, member.network, images)
    by_head: dict[Head, str] = {
        "softmax": add_softmax(g, found.logits),
        "svm": add_svm(g, member.svm, found.embedding),
    }
    attention = [value for value in (found.temporal, found.spatial) if value is not None]
    return _Member(found.embedding, by_head, found.logits, [images, found.embedding, *attention])


def _backbone(g: Graph, member: BackboneMember, images: str) -> _Member:
    assert member.softmax is not None  # `backbone_of` has asked
    embedding = add_embedding(g, member, images)
    by_head: dict[Head, str] = {
        "softmax": add_softmax_layer(g, member.softmax, embedding),
        "svm": add_svm(g, member.svm, embedding),
    }
    return _Member(embedding, by_head, None, [embedding])


def _mean(g: Graph, scores: Sequence[str]) -> str:
    total = scores[0]
    for score in scores[1:]:
        total = g.op("Add", total, score)
    return g.op("Div", total, g.constant(len(scores), F64))
