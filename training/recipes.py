"""Training recipes: what `--recipe` stands for, in one table.

`paper` is the protocol of the SRE-Conv paper (Du et al., ISBI 2025): upright
images only, no rotation and no flip in training. Unlike the official code,
which selects the epoch on the test set, all recipes select it on the validation
set. `quick` is the same in a fraction of the time: narrower, fewer epochs.
"""

import dataclasses

from data import rank_of


@dataclasses.dataclass(frozen=True)
class Recipe:
    """Defaults of a run.

    `kernel_sizes` are one per stage. `weight_decay` is that of an L2 term in
    the loss, as PyTorch's; momentum makes `1 / (1 - momentum)` of it, which
    Keras' decoupled decay has to be told.
    """

    epochs: int
    batch_size: int
    learning_rate: float
    kernel_sizes: tuple
    width: int = 64
    size: int = 28
    final_learning_rate: float = 1e-6
    momentum: float = 0.9
    weight_decay: float = 1e-3
    augment: bool = True

    @property
    def decoupled_weight_decay(self):
        return self.weight_decay / (1 - self.momentum)


_TEXTURES = Recipe(
    epochs=16,
    batch_size=32,
    learning_rate=2e-2,
    kernel_sizes=(5, 5, 3, 3),
    width=16,
    size=32,
    weight_decay=1e-4,
    augment=False,
)
_PAPER = {
    2: Recipe(100, 128, 2e-2, (9, 9, 5, 5)),
    3: Recipe(100, 4, 1e-2, (5, 5, 5, 5)),
}
_QUICK = {
    2: dataclasses.replace(_PAPER[2], epochs=20, batch_size=32, width=16),
    3: dataclasses.replace(_PAPER[3], epochs=10, width=16),
}
RECIPES = ("quick", "paper")


def recipe_for(dataset, name):
    """Returns the `Recipe` of that name for a data set.

    The built-in textures are quick in any case.
    """
    if dataset == "textures":
        return _TEXTURES
    recipes = {"paper": _PAPER, "quick": _QUICK}[name]
    return recipes[rank_of(dataset)]
