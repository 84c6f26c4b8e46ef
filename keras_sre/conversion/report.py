"""What a conversion did to each layer."""

import dataclasses

from keras_sre.tables import aligned


@dataclasses.dataclass(frozen=True)
class ConvertedLayer:
    """One layer: what it was and what took its place.

    `projection_error` is the part of the old kernel that rings cannot express,
    0 to 1; `None` where nothing was projected. `reason` says why a layer was
    left as it was, `None` where it was not.
    """

    name: str
    before: str
    after: str
    projection_error: float | None = None
    reason: str | None = None


@dataclasses.dataclass(frozen=True)
class ConversionReport:
    """Rows for all layers that `keras_sre.convert` replaced, or could not.

    Attributes:
        layers: tuple of `ConvertedLayer`, in the order of the calls.
    """

    layers: tuple

    @property
    def projection_errors(self):
        """A dict from the names of layers to their projection errors."""
        return {
            layer.name: layer.projection_error
            for layer in self.layers
            if layer.projection_error is not None
        }

    def __str__(self):
        rows = [("layer", "was", "is", "projection error")]
        for layer in self.layers:
            error = layer.projection_error
            rows.append(
                (
                    layer.name,
                    layer.before,
                    layer.after or f"left: {layer.reason}",
                    "" if error is None else f"{error:.3f}",
                )
            )
        return "\n".join(aligned(rows))


def described(layer):
    """Returns for instance `Conv2D 3x3 / 2`."""
    words = [type(layer).__name__]
    size = getattr(layer, "kernel_size", getattr(layer, "pool_size", None))
    if size is not None:
        words.append("x".join(map(str, size)))
    strides = getattr(layer, "strides", (1,))
    if isinstance(strides, tuple) and max(strides) > 1:
        words.append(f"/ {'x'.join(map(str, sorted(set(strides))))}")
    return " ".join(words)
