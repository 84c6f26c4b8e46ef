"""Compiles a converted model as the model that it was."""

import warnings

import keras


def compile_alike(converted, model):
    """Compiles a model as another is, with an optimizer of its own."""
    try:
        with warnings.catch_warnings():  # of a lambda, though nothing is saved
            warnings.simplefilter("ignore")
            config = model.get_compile_config()
        converted.compile_from_config(config)
        return
    except (TypeError, ValueError, NotImplementedError):
        config = dict(model._compile_config.config)  # with what cannot be named
    optimizer = config["optimizer"]
    try:
        if isinstance(optimizer, keras.optimizers.Optimizer):
            config["optimizer"] = optimizer.from_config(optimizer.get_config())
    except (TypeError, ValueError, NotImplementedError) as error:
        warnings.warn(
            f"The converted model is not compiled: its optimizer cannot be "
            f"made anew ({error}).",
            stacklevel=2,
        )
        return
    converted.compile(**config)
