"""Every example in a docstring runs and prints what it says."""

import doctest
import importlib
import inspect
import pkgutil

import keras
import numpy as np
import pytest
from helpers import needs_export

import keras_sre

LIBRARY = [
    module.name
    for module in pkgutil.walk_packages(keras_sre.__path__, "keras_sre.")
]


@pytest.mark.parametrize(
    "name",
    [
        pytest.param(name, marks=[needs_export] if "exporting" in name else [])
        for name in LIBRARY
    ],
)
def test_examples_run(name):
    module = importlib.import_module(name)
    results = doctest.testmod(
        module,
        extraglobs={"np": np},
        optionflags=doctest.NORMALIZE_WHITESPACE,
    )
    assert results.failed == 0


def test_public_layers_have_examples():
    finder = doctest.DocTestFinder(recurse=False)
    for name in keras_sre.__all__:
        item = getattr(keras_sre, name)
        if isinstance(item, type) and issubclass(item, keras.layers.Layer):
            assert any(test.examples for test in finder.find(item)), name


@pytest.mark.parametrize(
    "module",
    [keras_sre, keras_sre.applications, keras_sre.transforms],
    ids=lambda module: module.__name__,
)
def test_public_callables_say_what_they_take_and_return(module):
    names = getattr(module, "__all__", None) or [
        name
        for name, item in vars(module).items()
        if getattr(item, "__module__", None) == module.__name__
    ]
    reports = "Report", "Error"
    for name in names:
        item = getattr(module, name)
        if not callable(item) or name.endswith(reports):
            continue
        text = inspect.getdoc(item)
        assert "Args:" in text and "Example:" in text, name
        assert "Returns:" in text or "Output shape:" in text, name
