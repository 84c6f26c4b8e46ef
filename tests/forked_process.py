"""Python processes that need not import TensorFlow, which takes seconds.

They are forked from a server that has imported it, and does nothing else.
"""

import atexit
import multiprocessing
import os
import runpy
import signal
import sys
import tempfile

_context = multiprocessing.get_context("forkserver")
_context.set_forkserver_preload(
    ["tensorflow", "pandas", "sklearn.metrics", "matplotlib.pyplot"]
    + ["keras_tuner", "ai_edge_litert.interpreter"]
)


class ForkedProcess:
    """Does what `subprocess.Popen([sys.executable, *arguments])` does.

    Args:
        arguments: list of a script's path, or `-c` and its text, and of what
            it is given.
        cwd: path in which it runs.
        python_path: folder of modules that it can import.
    """

    def __init__(self, arguments, cwd, python_path=None):
        self._errors = tempfile.NamedTemporaryFile("r")
        self._process = _context.Process(
            target=_run,
            args=(
                *(list(map(str, arguments)), str(cwd), python_path),
                *(dict(os.environ), self._errors.name),
            ),
        )
        self._process.start()
        self.pid = self._process.pid

    @property
    def returncode(self):
        return self._process.exitcode

    def poll(self):
        return self._process.exitcode

    def kill(self):
        self._process.kill()

    def wait(self, timeout=None):
        """Returns whether the process has ended by then."""
        self._process.join(timeout)
        return self._process.exitcode is not None

    def errors(self):
        """Returns what it has written to standard error."""
        self._errors.seek(0)
        return self._errors.read()


def _run(arguments, cwd, python_path, environment, errors):
    nothing = os.open(os.devnull, os.O_RDWR)
    for number in (0, 1):
        os.dup2(nothing, number)
    os.dup2(os.open(errors, os.O_WRONLY | os.O_TRUNC), 2)
    signal.signal(signal.SIGINT, signal.default_int_handler)
    os.chdir(cwd)
    os.environ.clear()
    os.environ.update(environment)
    script, *given = arguments
    places = [cwd if script == "-c" else os.path.dirname(script)]
    sys.path[:0] = places + [python_path] * bool(python_path)
    try:
        if script == "-c":
            code, *given = given
            sys.argv = ["-c", *given]
            exec(code, sys.modules["__main__"].__dict__)
        else:
            sys.argv = [script, *given]
            runpy.run_path(script, run_name="__main__")
    finally:
        atexit._run_exitfuncs()
