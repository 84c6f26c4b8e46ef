"""A search by many processes: KerasTuner's chief and workers, made to last.

KerasTuner speaks gRPC between one chief, which proposes trials, and workers,
which run them. Here a worker that died is noticed, a chief may be started again
in the middle of a search, and whoever waits gives up at some time and says so.
"""

import os
import socket
import threading
import time

import grpc
from keras_tuner.src.distribute import oracle_client
from keras_tuner.src.engine import conditions

# A print that was forgotten there writes a line for each message sent.
conditions.print = lambda *values: None


class Lost(Exception):
    """Says in one line who was waited for in vain."""


def set_address(address, name):
    """Tells KerasTuner, which reads the environment, who is who.

    Args:
        address: str, `HOST:PORT` of the chief.
        name: str, of this process; `"chief"` is the chief.
    """
    host, _, port = address.rpartition(":")
    if not host or not port.isdigit() or not 0 < int(port) < 65536:
        raise ValueError(
            f"Received --chief {address}. Expected HOST:PORT, such as "
            "10.0.0.1:8470."
        )
    os.environ["KERASTUNER_ORACLE_IP"] = host
    os.environ["KERASTUNER_ORACLE_PORT"] = port
    os.environ["KERASTUNER_TUNER_ID"] = name


def serve(tuner, timeout, poll=0.5):
    """Runs the chief of a search until all is done and every worker knows.

    Args:
        tuner: a KerasTuner tuner whose oracle is a `SearchOracle`.
        timeout: float, seconds without a word after which a worker is lost,
            and after which a chief without workers ends.
        poll: float, seconds between two looks.

    Raises:
        Lost: if there is no worker for that long, or the server fails.
        ValueError: if the address is taken or is not of this host.
    """
    host, port = (
        os.environ[f"KERASTUNER_ORACLE_{part}"] for part in ("IP", "PORT")
    )
    try:  # gRPC would share the port with another chief
        socket.create_server((host, int(port))).close()
    except OSError as error:
        raise ValueError(
            f"Cannot listen at --chief {host}:{port}: {error.strerror}."
        ) from error
    oracle = tuner.oracle
    oracle.expect_workers()
    server = threading.Thread(target=tuner.search, daemon=True)
    server.start()
    alone_since = time.monotonic()
    while not oracle.finished:
        time.sleep(poll)
        if oracle.error:
            raise oracle.error
        if not server.is_alive() and not oracle.finished:
            raise Lost("the server ended, for the reason above")
        oracle.drop_lost_workers(timeout)
        if oracle.tuner_ids:
            alone_since = time.monotonic()
        elif time.monotonic() - alone_since > timeout:
            raise Lost(f"no worker was there for {timeout:g} seconds")


class PatientClient:
    """A worker's view of the oracle, which outlives a restart of the chief.

    Args:
        client: KerasTuner's `OracleClient`.
        timeout: float, seconds to wait for a chief that does not answer.
    """

    def __init__(self, client, timeout):
        self._client, self._timeout = client, timeout
        oracle_client.TIMEOUT = timeout  # else an hour

    def __getattr__(self, name):
        attribute = getattr(self._client, name)
        if not callable(attribute):
            return attribute

        def call(*args, **kwargs):
            deadline = time.monotonic() + self._timeout
            while True:
                try:
                    return attribute(*args, **kwargs)
                except grpc.RpcError as error:
                    # Cut off in the middle; saying it twice does no harm.
                    again = error.code() == grpc.StatusCode.UNAVAILABLE
                    if not again or time.monotonic() > deadline:
                        raise _lost(error, self._timeout) from error
                    time.sleep(min(1, self._timeout / 10))

        return call

    def heartbeat(self, trial_id):
        """Returns a `Heartbeat`, a context in which the chief hears of it."""
        return Heartbeat(self, trial_id, self._timeout / 5)


def _lost(error, timeout):
    if error.code() == grpc.StatusCode.DEADLINE_EXCEEDED:
        return Lost(f"the chief did not answer for {timeout:g} seconds")
    return Lost(f"the chief was lost ({error.code().name.lower()})")


class Heartbeat:
    """Asks the chief for a trial, again and again, while it is being run."""

    def __init__(self, client, trial_id, interval):
        self.client, self.trial_id = client, trial_id
        self.interval, self.over = interval, threading.Event()

    def __enter__(self):
        threading.Thread(target=self._beat, daemon=True).start()

    def __exit__(self, *error):
        self.over.set()

    def _beat(self):
        while not self.over.wait(self.interval):
            try:
                self.client.get_trial(self.trial_id)
            except Lost:  # the worker finds out when it has something to say
                pass
