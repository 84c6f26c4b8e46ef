"""Layers made from the configuration of another."""

import inspect
import warnings


def like(layer, kind, changes, without=()):
    """Returns a layer of another kind, otherwise of the same configuration."""
    config = {**configuration(layer), "dtype": layer.dtype_policy, **changes}
    return kind(**{key: config[key] for key in config if key not in without})


def configuration(layer):
    """Returns the configuration of a layer with its functions as they are.

    By its name Keras finds only an activation that was registered.
    """
    with warnings.catch_warnings():  # of a lambda, though nothing is saved
        warnings.simplefilter("ignore")
        config = layer.get_config()
    functions = {key: getattr(layer, key, None) for key in config}
    return config | {
        key: function
        for key, function in functions.items()
        if inspect.isfunction(function)
    }
