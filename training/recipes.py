"""Training recipes: what `--recipe` stands for, in one table.

`best`, the default, has filters that see direction beside the rings, AdamW and
as many steps for a small set of images as for a large one. `paper` is the
protocol of the SRE-Conv paper (Du et al., ISBI 2025). `quick` is that in a
fraction of the time: narrower, fewer epochs. All train on upright images only,
with no rotation and no flip. Unlike the official code, which selects the epoch
on the test set, all select it on the validation set.
"""

import dataclasses
import math

import keras
from data import default_size
from data import num_images
from data import rank_of


@dataclasses.dataclass(frozen=True)
class Recipe:
    """Defaults of a run.

    `kernel_sizes` are one per stage. Either `epochs` or `steps`, of the batch
    size given, says how long. `weight_decay` is Keras': decoupled.
    `as_if_turned` lets upright images suffer what a turn does beside turning.
    """

    batch_size: int
    learning_rate: float
    kernel_sizes: tuple
    epochs: int | None = None
    steps: int | None = None
    harmonics: tuple = ()
    harmonic_fraction: tuple = (0.5, 0.5, 0.5, 0.5)
    ring_profile: str = "hard"
    width: int = 64
    size: int = 28
    optimizer: str = "sgd"
    final_learning_rate: float = 1e-6
    weight_decay: float = 1e-2
    augment: bool = True
    as_if_turned: bool = False

    def make_optimizer(self, learning_rate, weight_decay, steps):
        """Returns a Keras optimizer whose rate falls along half a cosine."""
        rate = keras.optimizers.schedules.CosineDecay(
            learning_rate, steps, self.final_learning_rate / learning_rate
        )
        if self.optimizer == "adamw":
            return keras.optimizers.AdamW(rate, weight_decay)
        return keras.optimizers.SGD(
            rate, momentum=0.9, weight_decay=weight_decay
        )


# The official weight decay, 1e-3, is a term of the loss, of which momentum 0.9
# makes ten times as much; Keras' has to be told.
_PAPER = {
    2: Recipe(128, 2e-2, (9, 9, 5, 5), epochs=100),
    3: Recipe(4, 1e-2, (5, 5, 5, 5), epochs=100),
}
_QUICK = {
    2: dataclasses.replace(_PAPER[2], epochs=20, batch_size=32, width=16),
    3: dataclasses.replace(_PAPER[3], epochs=10, width=16),
}
_IMAGES = Recipe(
    32,
    2e-3,
    (5, 5, 3, 3),
    steps=1600,
    harmonics=(1, 2),
    ring_profile="linear",
    width=32,
    optimizer="adamw",
    weight_decay=0.5,
    as_if_turned=True,
)
_VOLUMES = dataclasses.replace(
    _IMAGES, batch_size=4, width=16, kernel_sizes=(3, 3, 3, 3)
)
_BEST = {2: _IMAGES, 3: _VOLUMES}
# Textures are large enough, and have no background to crop away.
_TEXTURES = {
    "epochs": 16,
    "steps": None,
    "width": 16,
    "size": 32,
    "batch_size": 32,
    "kernel_sizes": (5, 5, 3, 3),
    "augment": False,
}
_RECIPES = {"best": _BEST, "paper": _PAPER, "quick": _QUICK}
RECIPES = tuple(_RECIPES)


def recipe_for(dataset, name):
    """Returns the `Recipe` of that name for a data set.

    The built-in textures are quick in any case, and a user's own data have a
    size of their own.
    """
    recipe = _RECIPES[name][rank_of(dataset)]
    if size := default_size(dataset):
        return dataclasses.replace(recipe, size=size)
    if dataset == "textures":
        return dataclasses.replace(recipe, **_TEXTURES)
    return recipe


def default_epochs(recipe, dataset, batch_size, limit=None):
    """Returns the epochs that make up the recipe's steps (a part counts)."""
    if recipe.epochs:
        return recipe.epochs
    images = min(num_images(dataset), limit or float("inf"))
    return math.ceil(recipe.steps / max(1, images // batch_size))
