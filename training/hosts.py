"""The processes of a run on many hosts: how they find and lose each other."""

import contextlib
import multiprocessing
import os
import signal
import sys
import traceback

import child_process

HEARTBEAT_SECONDS = 30  # without a sign of life: a process counts as lost
START_SECONDS = 300  # for all processes to arrive
LOST = 75  # exit status: try again later
LOST_MESSAGE = (
    "fit.py: another process of this run is lost, or never came; its own "
    "output says why. Finished epochs are kept: start all again with --resume, "
    "as many as there are now, to go on."
)
VARIABLES = {  # as `keras.distribution.initialize` and Kubernetes have them
    "coordinator": ("KERAS_DISTRIBUTION_JOB_ADDRESSES",),
    "num_processes": ("KERAS_DISTRIBUTION_NUM_PROCESSES",),
    "process_id": ("KERAS_DISTRIBUTION_PROCESS_ID", "JOB_COMPLETION_INDEX"),
}


class LostProcessError(Exception):
    """Another process of the run does not answer any more."""


def add_addresses(parser):
    """Adds the flags that `connect` takes."""
    add = parser.add_argument
    add(
        "--coordinator",
        metavar="HOST:PORT",
        help="multi-host: where process 0 is (Slurm and Kubernetes know)",
    )
    add("--num-processes", type=int, metavar="N", help="multi-host, likewise")
    add("--process-id", type=int, metavar="I", help="multi-host, from 0")


@contextlib.contextmanager
def named_loss():
    """Raises `LostProcessError` for what JAX raises if a process is gone."""
    try:
        yield
    except (ValueError, RuntimeError) as error:
        signs = ("Gloo", "NCCL", "oordination service")
        if any(sign in str(error) for sign in signs):
            raise LostProcessError from error
        raise


def connect(coordinator=None, num_processes=None, process_id=None):
    """Connects this process to the others, before JAX is used.

    What is not given is taken from `VARIABLES` in the environment, or found by
    JAX: by Slurm, Open MPI, on Cloud TPUs, and in Kubernetes by the package
    `kubernetes`.

    Args:
        coordinator: str, `HOST:PORT` where process 0 can be reached.
        num_processes: int, 1 or more.
        process_id: int in 0..num_processes - 1.

    Raises:
        ValueError: if something is missing or impossible, or if the processes
            do not find each other.
    """
    import jax

    given = {
        "coordinator": coordinator,
        "num_processes": num_processes,
        "process_id": process_id,
    }
    for name, variables in VARIABLES.items():
        for variable in variables:
            if given[name] is None and variable in os.environ:
                given[name] = os.environ[variable]
    missing = [_flag(name) for name in given if given[name] is None]
    _check(given)
    jax.config.update("jax_cpu_collectives_implementation", "gloo")
    try:
        jax.distributed.initialize(
            given["coordinator"],
            given["num_processes"],
            given["process_id"],
            cluster_detection_method=None if missing else "deactivate",
            initialization_timeout=START_SECONDS,
            heartbeat_timeout_seconds=HEARTBEAT_SECONDS,
        )
    except TypeError as error:  # of an argument that it does not know
        raise ValueError(
            f"Received --distribute multi-host with JAX {jax.__version__}, "
            "which cannot tell soon that a process is lost. Install a newer "
            "one: pip install --upgrade jax."
        ) from error
    except (ValueError, RuntimeError) as error:
        line = str(error).splitlines()[0]
        if missing:
            raise ValueError(
                f"Received --distribute multi-host without {missing[0]}. Give "
                "--coordinator HOST:PORT, --num-processes N and --process-id "
                f"I, or start it by Slurm or Kubernetes. (JAX says: {line})"
            ) from error
        raise ValueError(
            f"The {given['num_processes']} processes did not find each other "
            f"at --coordinator {given['coordinator']}: {line}"
        ) from error


def _check(given):
    """Replaces texts by numbers; raises `ValueError` for impossible ones."""
    for name in ("num_processes", "process_id"):
        try:
            given[name] = (
                given[name] if given[name] is None else int(given[name])
            )
        except ValueError as error:
            raise ValueError(
                f"Received {_flag(name)} {given[name]}. Expected an integer."
            ) from error
    count, index = given["num_processes"], given["process_id"]
    if count is not None and count < 1:
        raise ValueError(
            f"Received --num-processes {count}. Expected 1 or more."
        )
    if index is not None and not 0 <= index < (count or index + 1):
        raise ValueError(
            f"Received --process-id {index}. Expected 0 to {(count or 1) - 1}: "
            "one less than --num-processes."
        )
    address = given["coordinator"]
    if address is not None:
        address = address.split(",")[0]
        host, _, port = address.rpartition(":")
        if not host or not port.isdigit():
            raise ValueError(
                f"Received --coordinator {address}. Expected HOST:PORT of "
                "process 0, such as node1:1234."
            )
        given["coordinator"] = address


def _flag(name):
    return "--" + name.replace("_", "-")


def supervise(function, *args):
    """Calls a function in a process of its own, and exits as that does.

    JAX aborts a process that has lost another, with a page of C++ for a
    message. What it means is said here, as the last line.
    """
    process = multiprocessing.get_context("spawn").Process(
        target=_answer_for, args=(function, *args)
    )
    process.start()

    def forward(number, frame):
        os.kill(process.pid, number)

    signal.signal(signal.SIGTERM, forward)
    signal.signal(signal.SIGINT, forward)
    process.join()
    status = process.exitcode
    if status in (LOST, -signal.SIGABRT):
        sys.exit(f"\n{LOST_MESSAGE}")  # below a progress bar
    if status < 0:
        sys.exit(f"fit.py: this process was ended by signal {-status}.")
    sys.exit(status)


def _answer_for(function, *args):
    child_process.begin()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, _interrupt_once)
    status = 1
    try:
        function(*args)
        status = 0
    except LostProcessError:
        status = LOST
    except SystemExit as error:
        print(error, file=sys.stderr)
    except BaseException:
        traceback.print_exc()
    if status == 0:
        return
    # Not by `sys.exit`: JAX would wait for the others, which wait for this one.
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(status)


def _interrupt_once(number, frame):
    # From a terminal it comes twice: from there and from the parent.
    for other in (signal.SIGTERM, signal.SIGINT):
        signal.signal(other, signal.SIG_IGN)
    raise KeyboardInterrupt
