"""The README's commands and examples are what is run elsewhere."""

import ast
import pathlib
import re
import subprocess
import sys

import pytest
from helpers import needs_export
from own_images import class_folder

ROOT = pathlib.Path(__file__).parents[1]
README = (ROOT / "README.md").read_text()
EXAMPLES = re.findall(r"```python\n(.*?)```", README, re.S)


def test_main_command_installs_and_fits():
    (command,) = re.findall(r"^pip install .*fit\.py$", README, re.M)
    steps = command.split(" && ")
    assert steps[0] == 'pip install ".[train,export]"'
    assert steps[-1] == "python training/fit.py"


def test_test_command_installs_and_tests():
    (command,) = re.findall(r"^pip install .*pytest$", README, re.M)
    steps = command.split(" && ")
    assert steps[0] == 'pip install ".[test]"'
    assert steps[-1] == "python -m pytest"


def test_ci_runs_the_command_of_the_readme():
    script = (ROOT / ".ci" / "run").read_text()
    assert "README.md" in script
    assert "-m venv" in script
    assert "eval" in script


def test_extras_exist():
    setup = (ROOT / "setup.cfg").read_text()
    for extra in ("train", "export", "test"):
        assert re.search(rf"^{extra} =$", setup, re.M)


@pytest.mark.parametrize(
    "number",
    [
        pytest.param(
            number, marks=[needs_export] if ".export(" in example else []
        )
        for number, example in enumerate(EXAMPLES)
    ],
)
def test_examples_run(number, tmp_path, monkeypatch):
    """Each with no name from another, in a folder of its own."""
    monkeypatch.chdir(tmp_path)
    class_folder(tmp_path / "my_images")
    exec(EXAMPLES[number], {})


def test_every_file_of_tests_is_said_to_hold_something():
    text = (ROOT / "tests" / "README.md").read_text()
    files = (ROOT / "tests").glob("test_*.py")
    assert not [f.stem for f in files if f"`{f.stem}`" not in text]


def test_library_imports_only_keras_and_numpy():
    code = (
        "import sys, keras, numpy; before = set(sys.modules)\n"
        "import keras_sre\n"
        "new = {m.partition('.')[0] for m in set(sys.modules) - before}\n"
        "print(sorted(new - {'keras_sre', 'keras', 'numpy'}))"
    )
    output = subprocess.run(
        [sys.executable, "-c", code],
        check=True,
        capture_output=True,
        text=True,
        cwd=ROOT,
    )
    third_party = ast.literal_eval(output.stdout.splitlines()[-1])
    assert set(third_party) <= set(sys.stdlib_module_names)
