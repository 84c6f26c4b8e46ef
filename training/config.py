"""The settings of a run: one dataclass, checked in one place."""

import dataclasses

from data import DATASETS
from models import MODELS

SIZES = (28, 32, 64, 128, 224)
PROFILES = ("hard", "area", "linear")
PRECISIONS = ("float32", "mixed_float16", "mixed_bfloat16")


@dataclasses.dataclass
class RunConfig:
    """Everything that decides the result of a run.

    `None` stands for the default of the data set or model and is replaced by
    `resolve`. Raises `ValueError`, one clear line, for values out of range.
    """

    dataset: str = "textures"
    root: str | None = None
    size: int | None = None
    model: str = "sre_resnet18"
    width: int | None = None
    kernel_sizes: tuple | None = None
    num_rings: tuple | None = None
    ring_profile: str = "hard"
    epochs: int | None = None
    batch_size: int = 32
    learning_rate: float = 0.02
    seed: int = 1
    precision: str = "float32"
    limit: int | None = None

    def __post_init__(self):
        for name in ("kernel_sizes", "num_rings"):
            if getattr(self, name) is not None:
                setattr(self, name, tuple(getattr(self, name)))
        for name, allowed in (
            ("dataset", DATASETS),
            ("model", MODELS),
            ("size", (None, *SIZES)),
            ("ring_profile", PROFILES),
            ("precision", PRECISIONS),
        ):
            value = getattr(self, name)
            if value not in allowed:
                known = ", ".join(str(item) for item in allowed if item)
                raise ValueError(
                    f"Received --{_flag(name)} {value}. Choose from: {known}."
                )
        for name in ("width", "epochs", "batch_size", "limit"):
            value = getattr(self, name)
            if value is not None and value < 1:
                raise ValueError(
                    f"Received --{_flag(name)} {value}. Expected 1 or more."
                )
        if not 0 < self.learning_rate < float("inf"):
            raise ValueError(
                f"Received --learning-rate {self.learning_rate}. Expected a "
                "positive number such as 0.02."
            )
        for name in ("kernel_sizes", "num_rings"):
            value = getattr(self, name)
            if value is not None and len(value) != 4:
                raise ValueError(
                    f"Received --{_flag(name)} with {len(value)} numbers. "
                    "Expected 4: one for each stage of the network."
                )

    def resolve(self):
        """Returns a copy in which the data set's defaults are filled in."""
        textures = self.dataset == "textures"
        defaults = {
            "size": 32 if textures else 28,
            "width": 16 if textures else 64,
            "kernel_sizes": (5, 5, 3, 3) if textures else (9, 9, 5, 5),
            "epochs": 16 if textures else 20,
        }
        missing = {
            name: value
            for name, value in defaults.items()
            if getattr(self, name) is None
        }
        return dataclasses.replace(self, **missing)


def _flag(name):
    return name.replace("_", "-")
