"""The settings of a run: one dataclass, checked in one place."""

import dataclasses
import os

from data import check_name
from data import is_path
from data import own_checksum
from data import own_size
from data import rank_of
from models import MODELS
from recipes import RECIPES
from recipes import default_epochs
from recipes import recipe_for

from keras_sre.geometry import RING_PROFILES

SIZES = (28, 32, 64, 128, 224)
PRECISIONS = ("float32", "mixed_float16", "mixed_bfloat16")
INTERPOLATIONS = ("nearest", "bilinear")
LOGS = ("tensorboard", "wandb")
TESTED_ON = ("test", "val")
DISTRIBUTIONS = ("none", "data", "multi-host")
PER_STAGE = ("kernel_sizes", "num_rings", "harmonic_fraction")
RING_SETTINGS = (*PER_STAGE, "ring_profile", "harmonics")
FROM_RECIPE = (
    "size",
    "width",
    "kernel_sizes",
    "ring_profile",
    "harmonics",
    "harmonic_fraction",
    "batch_size",
    "learning_rate",
    "weight_decay",
)


@dataclasses.dataclass
class RunConfig:
    """Everything that decides the result of a run.

    `None` stands for the default of the recipe or data set and is replaced
    by `resolve`. Raises `ValueError`, one clear line, for values out of range.

    `split` is `"val"`, for all that is still to be chosen, or `None`: the test
    split.
    """

    dataset: str = "textures"
    root: str | None = None
    size: int | None = None
    recipe: str = "best"
    model: str | None = None
    width: int | None = None
    kernel_sizes: tuple | None = None
    num_rings: tuple | None = None
    ring_profile: str | None = None
    harmonics: tuple | None = None
    harmonic_fraction: tuple | None = None
    epochs: int | None = None
    batch_size: int | None = None
    learning_rate: float | None = None
    weight_decay: float | None = None
    augment_rotation: bool = False
    seed: int = 1
    precision: str = "float32"
    interpolation: str = "nearest"
    limit: int | None = None
    split: str | None = None
    distribute: str = "none"

    def __post_init__(self):
        for name in (*PER_STAGE, "harmonics"):
            if getattr(self, name) is not None:
                setattr(self, name, tuple(getattr(self, name)))
        if self.root:
            self.root = os.path.abspath(os.path.expanduser(self.root))
        if self.harmonic_fraction and len(self.harmonic_fraction) == 1:
            self.harmonic_fraction *= 4  # one number for all stages
        sizes = SIZES
        if is_path(self.dataset):
            self.dataset = os.path.abspath(os.path.expanduser(self.dataset))
            if own := own_size(self.dataset):
                sizes = (own,)
        elif self.dataset != "textures":  # the others need medmnist
            check_name(self.dataset)
        for name, allowed in (
            ("model", (None, *MODELS)),
            ("size", (None, *sizes)),
            ("recipe", RECIPES),
            ("ring_profile", (None, *RING_PROFILES)),
            ("precision", PRECISIONS),
            ("interpolation", INTERPOLATIONS),
            ("split", (None, *TESTED_ON)),
            ("distribute", DISTRIBUTIONS),
        ):
            value = getattr(self, name)
            if value not in allowed:
                known = ", ".join(str(item) for item in allowed if item)
                raise ValueError(
                    f"Received --{_flag(name)} {value}. Choose from: {known}."
                )
        if self.split == "test":
            self.split = None
        for name in ("width", "epochs", "batch_size", "limit"):
            value = getattr(self, name)
            if value is not None and value < 1:
                raise ValueError(
                    f"Received --{_flag(name)} {value}. Expected 1 or more."
                )
        rate = self.learning_rate
        if rate is not None and not 0 < rate < float("inf"):
            raise ValueError(
                f"Received --learning-rate {rate}. Expected a positive number "
                "such as 0.02."
            )
        decay = self.weight_decay
        if decay is not None and not 0 <= decay < float("inf"):
            raise ValueError(
                f"Received --weight-decay {decay}. Expected 0 or more."
            )
        for name in PER_STAGE:
            value = getattr(self, name)
            if value is not None and len(value) != 4:
                raise ValueError(
                    f"Received --{_flag(name)} with {len(value)} numbers. "
                    "Expected 4: one for each stage of the network."
                )
        rank = rank_of(self.dataset)
        if self.model is not None and ("3d" in self.model) != (rank == 3):
            raise ValueError(
                f"Received --model {self.model} for {self.dataset}, which has "
                f"{rank} spatial axes. Choose a {rank}D model."
            )

    def resolve(self):
        """Returns a copy in which the recipe's defaults are filled in."""
        recipe = recipe_for(self.dataset, self.recipe)
        missing = {
            name: getattr(recipe, name)
            for name in FROM_RECIPE
            if getattr(self, name) is None
        }
        if self.epochs is None:
            missing["epochs"] = default_epochs(
                recipe,
                self.dataset,
                self.batch_size or recipe.batch_size,
                self.limit,
            )
        if self.model is None:
            volumes = rank_of(self.dataset) == 3
            missing["model"] = "sre_resnet3d18" if volumes else "sre_resnet18"
        return dataclasses.replace(self, **missing)

    def settings(self):
        """Returns what decides the result: all but where it is computed."""
        settings = dataclasses.asdict(self)
        del settings["root"], settings["distribute"]
        if md5 := own_checksum(self.dataset):
            settings["dataset_md5"] = md5
        return settings


def _flag(name):
    return name.replace("_", "-")
