"""A training that dies by SIGKILL in the middle of its third epoch: python -m tests.training.killed CHECKPOINT."""

import os
import signal
import sys
from pathlib import Path

import torch

from soundscene.training import step
from soundscene.training.fit import fit
from tests.training.toys import N_SCENES, TINY, toy_images


def main() -> None:
    torch.set_num_threads(1)
    batches = 0
    loss = step.kl_divergence

    def die_in_the_eighth_batch(targets: torch.Tensor, logits: torch.Tensor) -> torch.Tensor:
        nonlocal batches
        batches += 1
        if batches == 8:  # three batches an epoch: two epochs are finished, the third is not
            os.kill(os.getpid(), signal.SIGKILL)
        return loss(targets, logits)

    step.kl_divergence = die_in_the_eighth_batch
    fit(TINY, toy_images(), N_SCENES, checkpoint=Path(sys.argv[1]))


if __name__ == "__main__":
    main()
