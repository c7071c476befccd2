"""One of the processes that torchrun starts: a small training, its weights and losses into FOLDER/RANK.safetensors."""

import json
import sys
from pathlib import Path

import torch
from safetensors.torch import save_file

from soundscene.training.device import close, make_fabric
from soundscene.training.fit import fit
from tests.training.toys import N_SCENES, TINY, toy_images


def main() -> None:
    torch.set_num_threads(1)
    fabric = make_fabric("cpu")
    folder = Path(sys.argv[1])
    recipe = TINY.with_settings(["training.epochs=8", "training.learning_rate=0.02"])
    fitted = fit(recipe, toy_images(31), N_SCENES, fabric=fabric, checkpoint=folder / "checkpoint.safetensors")
    facts = {"world": fabric.world_size, "losses": [row["loss"] for row in fitted.history]}
    weights = {name: tensor.contiguous() for name, tensor in fitted.network.state_dict().items()}
    save_file(weights, folder / f"{fabric.global_rank}.safetensors", {"facts": json.dumps(facts)})
    close(fabric)


if __name__ == "__main__":
    main()
