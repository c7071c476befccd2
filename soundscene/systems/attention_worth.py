"""Where the attention of a network goes while it is trained, and what a corpus is predicted as without it."""

import numpy as np
import torch

from soundscene.data.corpus import Corpus
from soundscene.member import networks_of
from soundscene.model import Model
from soundscene.network import attention_use
from soundscene.network.models import AttCRNN
from soundscene.scoring.fusion import product_by_recording
from soundscene.systems.system import SystemPredictions

PROBED = 128  # segments of which entropy is measured: enough for a mean, and little beside an epoch


def learns_attention(model: Model) -> bool:
    """Tell whether a model is one network with an attention vector that is learnt.

    Args:
        model: Of any members.
    """
    networks = networks_of(model.members)
    return len(networks) == len(model.members) == 1 and attention_use.learns_attention(networks[0].network)


def entropies_of(model: Model, corpus: Corpus) -> dict[str, float]:
    """Measure how uniform attention is on some segments of a corpus.

    Args:
        model: One whose attention is learnt.
        corpus: With at least one voting segment.

    Returns:
        "spatial_entropy" and "temporal_entropy", shares of the largest entropy; 1 is uniform.
    """
    voting = np.flatnonzero(corpus.voting)
    some = voting[np.linspace(0, len(voting) - 1, min(len(voting), PROBED)).astype(int)]
    spatial, temporal = attention_use.entropies(_network(model), torch.from_numpy(corpus.features[some]))
    return {"spatial_entropy": spatial, "temporal_entropy": temporal}


def predict_uniform(model: Model, test: Corpus) -> SystemPredictions:
    """Predict a corpus by the softmax layer, with uniform weights in place of the learnt ones.

    Args:
        model: One whose attention is learnt.
        test: Corpus.
    """
    embeddings = attention_use.embed_uniform(_network(model), torch.from_numpy(test.features[test.voting]))
    segment = model.members[0].classify(embeddings.float().numpy(), "softmax")
    recording_of = test.recording[test.voting]
    recording = product_by_recording(segment, recording_of, len(test.recordings))
    return SystemPredictions(segment, recording_of, recording, recording)


def _network(model: Model) -> AttCRNN:
    network = networks_of(model.members)[0].network
    assert isinstance(network, AttCRNN)
    return network
