"""What `equivariance_report` returns: numbers, a table, a plot."""

import dataclasses
import os
import pathlib
import tempfile

import numpy as np

from keras_sre.tables import aligned


@dataclasses.dataclass(frozen=True)
class EquivarianceReport:
    """How far a model is from equivariance, and which layers are the cause.

    Attributes:
        name: str, the name of the model.
        grid_error: float, the largest error over the grid's own symmetries:
            largest difference relative to the largest output.
        num_symmetries: int, how many of them were tested, the identity
            included.
        tolerance: float, the `grid_error` up to which the model counts as
            exact: rounding.
        per_angle: dict from angle in degrees to the relative error there.
        offenders: tuple of `Offender`, the layers that break exactness on this
            input size, each with `name`, `reason`, `cure` and `error`.
    """

    name: str
    grid_error: float
    num_symmetries: int
    tolerance: float
    per_angle: dict
    offenders: tuple

    @property
    def exact(self):
        """Whether nothing breaks the grid's own symmetries, bar rounding."""
        return self.grid_error <= self.tolerance and not self.offenders

    def __str__(self):
        verdict = "exact" if self.exact else "not exact"
        title = f"{self.name}: {verdict} on the grid's own symmetries"
        rows = [
            (
                "grid error",
                f"{self.grid_error:.2g}",
                f"largest of {self.num_symmetries} symmetries",
            )
        ]
        if self.per_angle:
            worst = max(self.per_angle, key=self.per_angle.get)
            mean = np.mean(list(self.per_angle.values()))
            count = f"{len(self.per_angle)} angles"
            rows += [
                ("mean angle error", f"{mean:.2g}", count),
                (
                    "worst angle error",
                    f"{self.per_angle[worst]:.2g}",
                    f"at {worst:g} degrees",
                ),
            ]
        text = [title, *_indented(rows)]
        if self.offenders:
            text += ["", "layers that break it (error of each alone):"]
            text += _indented(
                (o.name, f"{o.error:.2g}", f"{o.reason} -> {o.cure}")
                for o in self.offenders
            )
        return "\n".join(text)

    def as_dict(self):
        """Returns all of it in types that JSON knows; angles are strings."""
        return {
            **dataclasses.asdict(self),
            "exact": self.exact,
            "per_angle": {f"{a:g}": e for a, e in self.per_angle.items()},
            "offenders": [dataclasses.asdict(o) for o in self.offenders],
        }

    def plot(self, path):
        """Draws the error against the angle, in polar form.

        Args:
            path: str or path of the picture; its suffix is the format, `.png`
                by default. It takes its name when it is complete.

        Returns:
            `pathlib.Path` of the picture.

        Raises:
            ImportError: if matplotlib is missing.
            ValueError: if there are no angles, as in 1D, or no such format or
                folder.
        """
        if not self.per_angle:
            raise ValueError(
                "Received a report without angles, so there is nothing to "
                "draw. Give angles, and images or volumes, to "
                "equivariance_report."
            )
        path = pathlib.Path(path)
        figure = self._figure()
        formats = sorted(figure.canvas.get_supported_filetypes())
        suffix = path.suffix.removeprefix(".").lower() or "png"
        if suffix not in formats:
            raise ValueError(
                f"Received path={str(path)!r}. Expected a suffix of "
                f"{', '.join(formats)}."
            )
        if not path.parent.is_dir():
            raise ValueError(
                f"Received path={str(path)!r}: there is no folder "
                f"{str(path.parent)!r}. Create it first."
            )
        with tempfile.TemporaryDirectory(dir=path.parent) as folder:
            partial = pathlib.Path(folder, path.name)
            figure.savefig(partial, format=suffix, dpi=130)
            os.replace(partial, path)
        return path

    def _figure(self):
        try:
            from matplotlib.figure import Figure
        except ImportError as error:
            raise ImportError(
                "Plots need matplotlib: pip install matplotlib."
            ) from error
        angles = sorted(self.per_angle)
        values = [self.per_angle[angle] for angle in angles]
        gaps = np.diff(angles)
        if len(gaps) and 0 < angles[0] + 360 - angles[-1] <= gaps.max():
            angles, values = [*angles, angles[0]], [*values, values[0]]
        figure = Figure(figsize=(5, 5), layout="constrained")
        axes = figure.add_subplot(polar=True)
        axes.plot(
            np.deg2rad(angles), values, "o-", color="#0072B2", markersize=3.5
        )
        axes.set_ylim(0, max(*values, 1e-6) * 1.1)
        axes.set_title(f"{self.name}: relative error by rotation", fontsize=10)
        return figure


def _indented(rows):
    return [f"  {line}" for line in aligned(rows)]
