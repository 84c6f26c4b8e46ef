"""The search space: ring counts, kernels and training, as KerasTuner sees it.

What the command line gives is fixed, what it does not give is searched. All of
a run's settings are part of the space, the fixed ones as such, so that a trial
says by itself what to train, on whatever host it arrives.
"""

import contextlib
import dataclasses

import keras_tuner
from config import RunConfig
from data import rank_of
from models import SRE_MODELS
from models import model_of
from recipes import recipe_for

from keras_sre.geometry import RING_PROFILES

STAGES = (1, 2, 3, 4)
KERNEL_SIZES = {2: (3, 5, 7, 9), 3: (3, 5)}
WIDTHS = (8, 16, 32)
FEWEST_RINGS = 2  # with one, the kernel is a box that blurs
# Around the recipe's own: an eighth of it, twice that, ... eight times it.
FACTORS = (1 / 8, 1 / 4, 1 / 2, 1, 2, 4, 8)
SEARCHED = (
    "kernel_sizes",
    "num_rings",
    "ring_profile",
    "width",
    "learning_rate",
    "weight_decay",
)
_TUPLES = {
    "kernel_sizes": int,
    "num_rings": int,
    "harmonics": int,
    "harmonic_fraction": float,
}
_FIELDS = {field.name for field in dataclasses.fields(RunConfig)}


class RingHyperModel(keras_tuner.HyperModel):
    """SRE-ResNets whose rings, kernels and training are to be found.

    Args:
        config: `RunConfig` as given by a user: those of `SEARCHED` that are
            `None` are searched, the number of rings of a stage between 2 and
            what its kernel has room for, `k // 2 + 1`.
        image_shape: tuple `(*spatial, channels)`.
        classes: int.

    Raises:
        ValueError: if the model is a plain one, or is to have more rings than
            any kernel that is searched.

    Example:

    >>> config = RunConfig(kernel_sizes=(9, 5, 3, 3), width=4)
    >>> space = keras_tuner.HyperParameters()
    >>> RingHyperModel(config, (32, 32, 3), 6).declare_hyperparameters(space)
    >>> space.values["num_rings_1_of_9"], config_of(space.values).num_rings
    (5, (5, 3, 2, 2))
    """

    def __init__(self, config, image_shape, classes):
        super().__init__()
        if config.model is not None and config.model not in SRE_MODELS:
            raise ValueError(
                f"Received --model {config.model}, which has no rings to "
                f"search. Choose from: {', '.join(SRE_MODELS)}."
            )
        self.config, self.image_shape = config, image_shape
        self.classes = classes
        self.defaults = dataclasses.replace(
            config, **{name: None for name in SEARCHED}
        ).resolve()

    def declare_hyperparameters(self, hp):
        """Adds the space; its default values are the recipe's."""
        for field in dataclasses.fields(RunConfig):
            name = field.name
            value = getattr(self.config, name)
            if name in SEARCHED and value is None:
                continue
            if value is None:
                value = getattr(self.defaults, name)
            if value is not None and name != "root":
                hp.Fixed(name, encode(value))
        for stage in STAGES:
            self._declare_rings(hp, stage, self._kernel_sizes(stage))
        if self.config.ring_profile is None:
            hp.Choice(
                "ring_profile",
                RING_PROFILES,
                default=self.defaults.ring_profile,
            )
        if self.config.width is None:
            width = self.defaults.width
            hp.Choice("width", sorted({*WIDTHS, width}), default=width)
        recipe = recipe_for(self.config.dataset, self.config.recipe)
        for name in ("learning_rate", "weight_decay"):
            if getattr(self.config, name) is None:
                own = getattr(recipe, name)
                hp.Choice(name, [own * f for f in FACTORS], default=own)

    def _kernel_sizes(self, stage):
        """Returns the kernel sizes that a stage may have."""
        if self.config.kernel_sizes is not None:
            return [self.config.kernel_sizes[stage - 1]]
        sizes = KERNEL_SIZES[rank_of(self.config.dataset)]
        sizes = sorted({*sizes, self.defaults.kernel_sizes[stage - 1]})
        if self.config.num_rings is None:
            return sizes
        fewest = self.config.num_rings[stage - 1]
        if fewest > most_rings(sizes[-1]):
            raise ValueError(
                f"Received --num-rings {encode(self.config.num_rings)}. The "
                f"kernels that are searched have {most_rings(sizes[-1])} rings "
                "at most: give fewer, or --kernel-sizes."
            )
        return [size for size in sizes if most_rings(size) >= fewest]

    def _declare_rings(self, hp, stage, sizes):
        parent = f"kernel_size_{stage}"
        if self.config.kernel_sizes is None:
            own = self.defaults.kernel_sizes[stage - 1]
            hp.Choice(parent, sizes, default=own if own in sizes else sizes[0])
        for size in sizes if self.config.num_rings is None else ():
            # One name for each: KerasTuner drops a value if any parameter of
            # its name is inactive.
            name, most = f"num_rings_{stage}_of_{size}", most_rings(size)
            scope = contextlib.nullcontext()
            if self.config.kernel_sizes is None:
                scope = hp.conditional_scope(parent, [size])
            with scope:
                if most > FEWEST_RINGS:
                    hp.Int(name, FEWEST_RINGS, most, default=most)
                else:
                    hp.Fixed(name, most)

    def build(self, hp):
        """Returns the network of these values, not compiled."""
        return model_of(config_of(hp.values), self.image_shape, self.classes)


def most_rings(kernel_size):
    """Returns how many rings of a tap's width a kernel has room for."""
    return kernel_size // 2 + 1


def config_of(values, root=None):
    """Returns the `RunConfig`, resolved, of a trial's values.

    Args:
        values: dict of a trial's hyperparameters.
        root: folder of the data on this host, as in `RunConfig`.
    """
    settings = {name: v for name, v in values.items() if name in _FIELDS}
    for name, kind in _TUPLES.items():
        if name in settings:
            settings[name] = tuple(map(kind, str(settings[name]).split()))
    if "kernel_sizes" not in settings:
        settings["kernel_sizes"] = tuple(
            values[f"kernel_size_{stage}"] for stage in STAGES
        )
    if "num_rings" not in settings:
        sizes = zip(STAGES, settings["kernel_sizes"], strict=True)
        settings["num_rings"] = tuple(
            values[f"num_rings_{stage}_of_{size}"] for stage, size in sizes
        )
    if "tuner/epochs" in values:  # Hyperband's
        settings["epochs"] = values["tuner/epochs"]
    return RunConfig(root=root, **settings).resolve()


def encode(value):
    """Returns a setting as KerasTuner can hold it: tuples become text."""
    if isinstance(value, tuple):
        return " ".join(str(item) for item in value)
    return value


def describe(config):
    """Returns in a line what a search decides of a run."""
    return ", ".join(
        f"{name.replace('_', ' ')} {encode(getattr(config, name))}"
        for name in SEARCHED
    )
