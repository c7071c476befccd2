"""Export a model: its graph, checked beside PyTorch before the file gets its name."""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from soundscene.bundle import load_model
from soundscene.errors import SceneError
from soundscene.export.backbone import storage_of
from soundscene.export.check import MOST, MOST_INT8, MOST_UNFAMILIARITY, Parity, Sound, compare, compare_whole
from soundscene.export.model_graph import members_of, stateful_graph, whole_graph
from soundscene.files import write_atomic
from soundscene.graph_facts import HEADS, STATEFUL, TRAINING, WHOLE, GraphFacts
from soundscene.graph_model import SUFFIX, GraphModel, open_session
from soundscene.member import BackboneMember, networks_of
from soundscene.model import Model


@dataclass(frozen=True)
class Exported:
    """What was written.

    Attributes:
        path: The file.
        size: Its bytes.
        weights: How they are kept, as in `GraphFacts`.
        parity: Differences from PyTorch; None without a check.
    """

    path: Path
    size: int
    weights: str
    parity: Parity | None


def export_model(path: Path, out: Path, whole: bool = False, int8: bool = False, sounds: Sequence[Sound] = ()) -> Exported:
    """Export a model to ONNX.

    Args:
        path: Model file (.safetensors).
        out: File to write.
        whole: Whether the graph takes a whole recording in one call, in place of blocks with a state.
        int8: Whether the weights of the networks are kept in 8 bits.
        sounds: What the file is checked on; not checked without any.

    Raises:
        BundleError: The model cannot be read.
        SceneError: It cannot be exported, or predicts something else than the model does; no file is left then.
    """
    if out.suffix.lower() != SUFFIX:
        raise SceneError(f"--out {out}: expected a name that ends in {SUFFIX}")
    model = load_model(path)
    facts = facts_of(model, hashlib.sha256(path.read_bytes()).hexdigest(), WHOLE if whole else STATEFUL, int8)
    graph = (whole_graph if whole else stateful_graph)(model, facts.to_metadata(), int8)
    content = graph.SerializeToString()
    parity = None
    if sounds:
        session = open_session(content)
        parity = compare_whole(model, session, sounds) if whole else compare(model, GraphModel(facts, session), sounds)
        _check(parity, out, int8 and bool(networks_of(model.members)))
    write_atomic(out, content)
    return Exported(out, len(content), facts.weights, parity)


def facts_of(model: Model, digest: str, form: str = STATEFUL, int8: bool = False) -> GraphFacts:
    """Collect what an exported file says of its model.

    Args:
        model: The model.
        digest: SHA-256 of its file.
        form: "stateful" or "whole".
        int8: Whether weights of networks are kept in 8 bits.
    """
    kept = {
        member.name: storage_of(member) if isinstance(member, BackboneMember) else "int8" if int8 else "float32"
        for member in members_of(model)
    }
    weights = next(iter(kept.values())) if len(set(kept.values())) == 1 else ", ".join(map(" ".join, kept.items()))
    return GraphFacts(
        scenes=model.scenes,
        audio=model.audio,
        recipes={member.name: member.recipe for member in members_of(model)},
        head=model.head,
        temperature={head: float(model.temperature[head]) for head in HEADS},
        prior={head: tuple(model.training_prior(head).tolist()) for head in HEADS},
        front_end=model.front_end,
        familiarity=model.familiarity,
        usual=model.usual,
        form=form,
        weights=weights,
        digest=digest,
        training={name: value for name, value in model.provenance.items() if name in TRAINING},
        parameters={member.name: n for member in members_of(model) if (n := member.n_parameters) is not None},
        backbones={member.name: member.facts for member in members_of(model) if isinstance(member, BackboneMember)},
    )


def _check(parity: Parity, out: Path, int8: bool) -> None:
    found, limit = (parity.recording, MOST_INT8) if int8 else (parity.largest, MOST)
    if not found <= limit:  # NaN included
        raise SceneError(
            f"{out}: not written, because its posteriors differ from the model's by {found:.2g} on {parity.worst}, allowed "
            f"is {limit:g}{'; export it without --int8' if int8 else '; please report it with the model'}"
        )
    if not int8 and not parity.unfamiliarity <= MOST_UNFAMILIARITY:
        raise SceneError(
            f"{out}: not written, because its unfamiliarity differs from the model's by {parity.unfamiliarity:.2g}, allowed "
            f"is {MOST_UNFAMILIARITY:g}; please report it with the model"
        )
