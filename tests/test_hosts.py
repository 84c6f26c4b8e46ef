"""How the processes of a run find each other, and what they say if not."""

import fit
import hosts
import jax
import pytest
from helpers import needs_multi_host


@pytest.fixture
def connected(monkeypatch):
    """Returns the list of what JAX was started with."""
    calls = []
    for variables in hosts.VARIABLES.values():
        for name in variables:
            monkeypatch.delenv(name, raising=False)

    def initialize(*args, cluster_detection_method, **kwargs):
        calls.append((*args, cluster_detection_method))

    monkeypatch.setattr(jax.distributed, "initialize", initialize)
    return calls


@pytest.mark.parametrize(
    ("flags", "environment", "expected"),
    [
        (("a:1", 2, 0), {}, ("a:1", 2, 0, "deactivate")),
        (
            (None, None, None),
            {
                "KERAS_DISTRIBUTION_JOB_ADDRESSES": "a:1,b:1",
                "KERAS_DISTRIBUTION_NUM_PROCESSES": "2",
                "JOB_COMPLETION_INDEX": "1",
            },
            ("a:1", 2, 1, "deactivate"),
        ),
        (
            ("b:2", None, 0),
            {
                "KERAS_DISTRIBUTION_JOB_ADDRESSES": "a:1",
                "KERAS_DISTRIBUTION_NUM_PROCESSES": "2",
                "KERAS_DISTRIBUTION_PROCESS_ID": "1",
            },
            ("b:2", 2, 0, "deactivate"),
        ),
        ((None, None, None), {}, (None, None, None, None)),
    ],
    ids=["flags", "kubernetes", "flags first", "left to jax"],
)
def test_where_the_processes_are(
    flags, environment, expected, connected, monkeypatch
):
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    hosts.connect(*flags)
    assert connected == [expected]


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        (("a", 2, 0), "--coordinator a. Expected HOST:PORT"),
        (("a:b", 2, 0), "--coordinator a:b. Expected HOST:PORT"),
        (("a:1", 0, 0), "--num-processes 0. Expected 1 or more"),
        (("a:1", 2, 2), "--process-id 2. Expected 0 to 1"),
        (("a:1", 2, -1), "--process-id -1. Expected 0 to 1"),
        (("a:1", "two", 0), "--num-processes two. Expected an integer"),
    ],
    ids=lambda value: "" if isinstance(value, str) else str(value),
)
def test_impossible_addresses(flags, message, connected):
    with pytest.raises(ValueError, match=message):
        hosts.connect(*flags)
    assert not connected


@needs_multi_host
def test_missing_addresses(monkeypatch):
    for name in ("SLURM_JOB_ID", "KUBERNETES_SERVICE_HOST"):
        monkeypatch.delenv(name, raising=False)
    with pytest.raises(ValueError, match="multi-host without --process-id."):
        hosts.connect("a:1", 2)


@pytest.mark.parametrize(
    ("error", "expected"),
    [
        (ValueError("Gloo AllGather failed: closed"), hosts.LostProcessError),
        (ValueError("Received --width 0"), ValueError),
    ],
    ids=["lost", "another"],
)
def test_a_lost_process_is_told_from_other_errors(error, expected):
    with pytest.raises(expected), hosts.named_loss():
        raise error


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        (["--process-id", "1"], "--process-id without --distribute multi-host"),
        (
            ["--distribute", "multi-host", "--seeds", "1", "2"],
            "--distribute multi-host with several runs",
        ),
    ],
    ids=["address alone", "several runs"],
)
def test_flags_that_do_not_go_together(flags, message, monkeypatch):
    monkeypatch.setattr(fit, "supervise", lambda function, *a: function(*a))
    with pytest.raises(SystemExit, match=message):
        fit.main(flags)
