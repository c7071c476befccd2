"""Three scenes that a tiny network tells apart in seconds: each is loud in bands of its own."""

import torch

from soundscene.recipe import Recipe
from soundscene.training.fit import LabelledImages

TINY = Recipe.small().with_settings(
    [
        "network.filters=[2, 3, 4]",
        "network.hidden=4",
        "network.attention=4",
        "audio.segment_s=0.2",  # 8 frames
        "training.batch_size=12",
        "training.epochs=4",
        "training.learning_rate=0.01",
        "training.schedule=constant",
        "augmentation=off",
    ]
)
N_SCENES = 3
AUGMENTED = [  # every kind, for half of the images
    "augmentation.level_db=[-6, 6]",
    "augmentation.tilt_db=4",
    "augmentation.response_db=3",
    *(f"augmentation.{kind}=0.5" for kind in ("low_pass", "codec", "background", "clipping", "mix_statistics")),
]
STILL = ["network.conv_dropout=0", "network.recurrent_dropout=0"]


def toy_images(n: int = 30, seed: int = 0) -> LabelledImages:
    generator = torch.Generator().manual_seed(seed)
    labels = torch.arange(n) % N_SCENES
    images = torch.randn(n, 2, 64, 8, generator=generator) - 10
    for scene in range(N_SCENES):
        images[labels == scene, :, 20 * scene : 20 * scene + 20] += 4
    return LabelledImages(images, labels)
