"""The tutorial runs from its first cell to its last."""

import pathlib
import re

import fit
import numpy as np
from helpers import needs_export


@needs_export
def test_tutorial_runs(capsys):
    path = pathlib.Path(fit.__file__).with_name("tutorial.py")
    cells = re.sub("EPOCHS = .*", "EPOCHS = 1", path.read_text())
    cells = re.sub("ANGLES = .*", "ANGLES = (0, 45)", cells)
    cells = re.sub("filters in .*:", "filters in (4, 8, 8):", cells)
    names = {}
    exec(compile(cells, str(path), "exec"), names)
    printed = capsys.readouterr().out
    assert "SREConv2D: upright" in printed and "litert, int8" in printed
    rings, some = names["rings"], names["some"]
    turned = np.rot90(some, axes=(1, 2))
    np.testing.assert_allclose(
        rings.predict(turned, verbose=0),
        rings.predict(some, verbose=0),
        atol=1e-5,
    )
    assert names["report"].offenders
