"""A trained model: one or more members, fused by the product rule, with one temperature and one score of unfamiliarity."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
from jaxtyping import Float32, Float64

from soundscene.member import Member, NetworkMember, networks_of
from soundscene.recipe import FRONT_END, AudioRecipe
from soundscene.scoring.fusion import fuse_systems
from soundscene.scoring.unfamiliarity import Familiarity
from soundscene.signal.frontend import FrontEnd
from soundscene.signal.ranges import TrainingRange
from soundscene.signal.streams import JoinedFrontEnd
from soundscene.texts import counted, short, show
from soundscene.types import Features, Head, LogPosterior

MOST_MEMBERS = 16
Embeddings = tuple[Float32[np.ndarray, "segment _"], ...]
"""Embeddings of the same segments by each member."""


@dataclass(frozen=True, eq=False, repr=False)  # networks have no equality
class Model:
    """A trained model.

    Attributes:
        scenes: Names in the order of every posterior.
        members: One or more, on one grid of segments.
        temperature: Of each head, for posteriors of recordings by all members; 1 if none was fitted.
        provenance: Versions, corpus, split, epoch, notes.
        familiarity: Reference for unknown detection; None in a model that was saved by an older version.
        usual: Range of its training recordings; None in a model of an older version, or of few recordings.

    Raises:
        ValueError: There is no member or there are too many, two have one name, or their segments differ.
    """

    scenes: tuple[str, ...]
    members: tuple[Member, ...]
    temperature: dict[str, float]
    provenance: dict[str, Any] = field(default_factory=dict)
    familiarity: Familiarity | None = None
    usual: TrainingRange | None = None

    def __post_init__(self) -> None:
        names = [member.name for member in self.members]
        if not 1 <= len(names) <= MOST_MEMBERS:
            raise ValueError(f"a model of {len(names)} members; allowed are 1 to {MOST_MEMBERS}")
        if len(set(names)) < len(names):
            raise ValueError(f"members are {', '.join(names)}, expected different names")
        for member in self.members:
            if (member.audio.segment_s, member.audio.last_piece) != (self.audio.segment_s, self.audio.last_piece):
                raise ValueError(f"members {names[0]} and {member.name} differ in audio.segment_s or audio.last_piece")
        for network in networks_of(self.members)[1:]:
            if network.audio != (first := networks_of(self.members)[0]).audio:
                raise ValueError(f"members {first.name} and {network.name} differ in their audio recipe, which they share")

    def __repr__(self) -> str:
        """Return one line: scenes, members and head."""
        names = short(show(", ".join(self.scenes)))
        return f"<Model of {', '.join(self.member_names)}; {self.head} head; {counted(len(self.scenes), 'scene')}: {names}>"

    def with_facts(self, facts: Mapping[str, Any]) -> "Model":
        """Return the model with further facts in its provenance.

        Args:
            facts: By name; those that it has stay.
        """
        return replace(self, provenance={**facts, **self.provenance})

    @property
    def member_names(self) -> tuple[str, ...]:
        """Names of the members."""
        return tuple(member.name for member in self.members)

    @property
    def audio(self) -> AudioRecipe:
        """Rate of the samples that all members receive, and the grid of segments: those of the first member."""
        return self.members[0].audio

    @property
    def head(self) -> Head:
        """Classifier that predicts by default: the choice of the first member's recipe."""
        return self.members[0].default_head

    @property
    def front_end(self) -> int:
        """Oldest version of the front-end that made training images of a member."""
        return min(member.front_end for member in self.members)

    def build_front_end(self, segment_hop_s: float | None = None, version: int = FRONT_END) -> FrontEnd | JoinedFrontEnd:
        """Build what turns mono samples into the features of all members.

        The networks share decoding, noise tracking, segments and, with the same STFT, power spectra. Any other member has a
        front-end of its own beside them.

        Args:
            segment_hop_s: Seconds between starts of segments, by default their length.
            version: Of the front-end, see `recipe.FRONT_END`.

        Raises:
            RecipeError: The features do not fit the audio.
        """
        networks = networks_of(self.members)
        others = [member for member in self.members if not isinstance(member, NetworkMember)]
        features = [member.recipe.features for member in networks]
        shared = [FrontEnd(networks[0].audio, features, segment_hop_s, version)] if networks else []
        if not others:
            return shared[0]
        columns = [member.name for member in (*networks, *others)]
        sources = [*shared, *(member.source(self.audio, segment_hop_s, version) for member in others)]
        return JoinedFrontEnd(sources, [columns.index(member.name) for member in self.members])

    def for_many(self) -> "Model":
        """Return this model: it has one form only, see `SceneModel`."""
        return self

    def embed(self, features: Features) -> Embeddings:
        """Compute the embeddings of each member.

        Args:
            features: From the front-end, one array for each member.
        """
        return tuple(member.embed(array) for member, array in zip(self.members, features, strict=True))

    def embeddings_of(self, embeddings: Embeddings) -> Embeddings:
        """Return the embeddings of each member, which is what `embed` gives."""
        return embeddings

    def classify(self, embeddings: Embeddings, head: Head) -> LogPosterior:
        """Classify segments: the product rule over members, with equal weights.

        A member without the head votes by the one that it has.

        Args:
            embeddings: From `embed`.
            head: "softmax" or "svm".

        Returns:
            Log posterior [segment, scene].

        Raises:
            BundleError: If weights are so large that the posterior is not a number.
        """
        return fuse_members(self.classify_each(embeddings, head))

    def classify_each(self, embeddings: Embeddings, head: Head) -> list[LogPosterior]:
        """Classify segments by each member alone.

        Args:
            embeddings: From `embed`.
            head: "softmax" or "svm".

        Returns:
            Log posterior [segment, scene] of each member.

        Raises:
            BundleError: As `classify` does.
        """
        return [
            member.classify(x, head if head in member.heads else member.heads[0])
            for member, x in zip(self.members, embeddings, strict=True)
        ]

    def unfamiliarity(self, embeddings: Embeddings) -> Float64[np.ndarray, " segment"]:
        """Score how unlike the training each segment is. Larger is less familiar; a recording is the mean of its segments.

        Raises:
            ValueError: If the model has no `familiarity`.
        """
        if self.familiarity is None:
            raise ValueError("unknown detection unavailable: the model was saved by an older version; retrain it")
        logits = [m.logits(x) for m, x in zip(self.members, embeddings, strict=True) if isinstance(m, NetworkMember)]
        return self.familiarity.score(embeddings, logits)

    def training_prior(self, head: Head) -> Float64[np.ndarray, " scene"]:
        """Compute the prior of each scene that the posteriors of a head hold: of several members the product.

        The prior of a member follows from the numbers of training recordings in the provenance, and is uniform if they are
        missing or do not match the scenes. The SVM is trained on the recordings as they are. The softmax layer is trained on
        balanced draws, if the recipe has them, or on pairs of different scenes, in which frequent scenes are rarer than in
        the corpus.

        Args:
            head: "softmax" or "svm".

        Returns:
            Probability of each scene.
        """
        n = len(self.scenes)
        counts = self.provenance.get("recordings")
        if not isinstance(counts, dict) or set(counts) != set(self.scenes) or not all(map(is_count, counts.values())):
            return np.full(n, 1 / n)
        share = np.array([counts[scene] for scene in self.scenes], np.float64)
        share /= share.sum()
        priors = [_prior(member, head, share) for member in self.members]
        if len(priors) == 1:
            return priors[0]
        fused = np.prod(np.stack(priors) * n, axis=0)
        return fused / fused.sum()

    def lacking(self, head: Head) -> str | None:
        """Say which members lack a head, in one line; None where every member has it.

        Args:
            head: "softmax" or "svm".
        """
        without = [member for member in self.members if head not in member.heads]
        if not without:
            return None
        names = ", ".join(member.name for member in without)
        return f"{names}: no {head} head, votes by its {without[0].heads[0]} head"


def fuse_members(log_posteriors: Sequence[LogPosterior]) -> LogPosterior:
    """Fuse the posteriors of members for the same segments: the product rule in logs, with equal weights.

    Args:
        log_posteriors: [segment, scene] of each member. That of a single member is returned as it is.
    """
    return log_posteriors[0] if len(log_posteriors) == 1 else fuse_systems(log_posteriors)


def _prior(member: Member, head: Head, share: Float64[np.ndarray, " scene"]) -> Float64[np.ndarray, " scene"]:
    if head == "svm" or not isinstance(member, NetworkMember):  # a member without softmax layer votes by its SVM
        return share
    training = member.recipe.training
    if training.balanced:
        return np.full(len(share), 1 / len(share))
    if training.mixing == "between-class":
        odds = share / (1 - share)
        # Half of the examples' labels come from the first of a pair, drawn by share. The second is drawn among all other
        # scenes: P(second = c) = sum over b != c of share_b share_c / (1 - share_b) = share_c (sum of odds - odds_c).
        share = share * (1 + odds.sum() - odds) / 2
    return share


def is_count(value: Any) -> bool:
    """Tell whether a value from a file is a whole number above 0."""
    return isinstance(value, int) and not isinstance(value, bool) and value > 0
