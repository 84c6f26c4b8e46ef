"""KerasTuner's oracles, for searches that are interrupted and lose workers."""

import contextlib
import json
import pathlib
import time

import keras_tuner
from keras_tuner.engine.trial import TrialStatus
from keras_tuner.src import config
from keras_tuner.src import utils
from run_directory import write_text

OBJECTIVE = "val_rotated_accuracy"
TUNERS = ("bayesian", "random", "hyperband")
# How noisy a score is, as a share of the scores' variance: with a few hundred
# images to validate on, two seeds differ by as much as two networks.
NOISE = 0.1
MOST_REFUSED = 9  # for each trial asked for, before the search gives up


def make_oracle(tuner, space, max_trials, max_epochs, seed, on_trial_end):
    """Returns an oracle.

    Args:
        tuner: one of `TUNERS`.
        space: `keras_tuner.HyperParameters`; its values are the first trial.
        max_trials: int, or `None` with Hyperband, which knows when to stop.
        max_epochs: int, of the last round of Hyperband.
        seed: int.
        on_trial_end: function that is called with the oracle and the trial.
    """
    options = {
        "objective": keras_tuner.Objective(OBJECTIVE, "max"),
        "hyperparameters": space,
        "seed": seed,
        # A trial that fails is a result; only the user ends the search.
        "max_consecutive_failed_trials": 10**9,
    }
    if tuner == "hyperband":
        oracle = Hyperband(max_epochs=max_epochs, **options)
    elif tuner == "random":
        oracle = RandomSearch(max_trials=max_trials, **options)
    else:
        oracle = BayesianOptimization(
            max_trials=max_trials,
            num_initial_points=max(3, max_trials // 3),
            alpha=NOISE,
            **options,
        )
    oracle.wanted, oracle.on_trial_end = max_trials, on_trial_end
    oracle.verbose = 0
    return oracle


class SearchOracle:
    """What all of the oracles here do beside proposing trials.

    - The first trial has the default values: what others are compared with.
    - Trials over a bound, which cost seconds, do not count as trials.
    - After a restart no trial is lost, and none is run twice.
    - Workers that are not heard of any more lose their trial.
    """

    wanted = None
    on_trial_end = staticmethod(lambda oracle, trial: None)

    def __init__(self, **options):
        super().__init__(**options)
        self.last_heard = {}  # of a tuner or a trial, by its name: seconds
        self.interrupted = {}
        self.stopped = False  # has told a worker that there is no more to do
        self.error = None  # after one, KerasTuner never lets go of its lock

    def populate_space(self, trial_id):
        response = super().populate_space(trial_id)
        if not self.trials:
            special = {
                name: value
                for name, value in response["values"].items()
                if name.startswith("tuner/")  # Hyperband's
            }
            response["values"] = self.hyperparameters.values | special
        return response

    @keras_tuner.synchronized
    def create_trial(self, tuner_id):
        self.last_heard[tuner_id] = time.monotonic()
        with self._noting_errors():
            trial = self._create_trial(tuner_id)
        self.stopped |= trial.status == TrialStatus.STOPPED
        self.last_heard[trial.trial_id] = time.monotonic()
        return trial

    def _create_trial(self, tuner_id):
        if self.wanted is not None:
            refused = sum(is_over_bound(t) for t in self.trials.values())
            self.max_trials = self.wanted + min(
                refused, MOST_REFUSED * self.wanted
            )
        return super().create_trial(tuner_id)

    @contextlib.contextmanager
    def _noting_errors(self):
        try:
            yield
        except Exception as error:
            self.error = error
            raise

    def get_trial(self, trial_id):
        self.last_heard[trial_id] = time.monotonic()
        return super().get_trial(trial_id)

    @keras_tuner.synchronized
    def end_trial(self, trial):
        if trial.trial_id in self.end_order:  # its worker says so twice
            self._forget(trial.trial_id)
            return
        with self._noting_errors():
            super().end_trial(trial)
            self.on_trial_end(self, self.trials[trial.trial_id])

    @keras_tuner.synchronized
    def drop_lost_workers(self, timeout):
        """Fails the trials of workers not heard of for `timeout` seconds."""
        latest = time.monotonic() - timeout
        for tuner_id, trial in list(self.ongoing_trials.items()):
            if self.last_heard.get(trial.trial_id, 0) < latest:
                trial.status = TrialStatus.FAILED
                trial.message = f"its worker, {tuner_id}, was lost"
                self.end_trial(trial)
                self.tuner_ids.discard(tuner_id)
        for tuner_id in self.tuner_ids - set(self.ongoing_trials):
            if self.last_heard.get(tuner_id, 0) < latest:
                self.tuner_ids.discard(tuner_id)

    @property
    def finished(self):
        """Whether all is done and every worker knows."""
        return self.stopped and not (self.ongoing_trials or self.tuner_ids)

    def _forget(self, trial_id):
        """Takes a trial from whoever runs it."""
        self.ongoing_trials = {
            tuner_id: trial
            for tuner_id, trial in self.ongoing_trials.items()
            if trial.trial_id != trial_id
        }

    def set_state(self, state):
        self.interrupted = dict(state["ongoing_trials"])
        super().set_state(state)

    def reload(self):
        super().reload()
        # The trials' own files are right. This list misses one that was just
        # begun when the search was killed, and holds one that was just ended.
        self._retry_queue = [
            trial_id
            for trial_id, trial in sorted(self.trials.items(), reverse=True)
            if trial.status == TrialStatus.RUNNING
        ]

    def expect_workers(self):
        """Leaves interrupted trials to their workers, which may be at it."""
        for tuner_id, trial_id in self.interrupted.items():
            if trial_id in self._retry_queue:
                self._retry_queue.remove(trial_id)
                self.ongoing_trials[tuner_id] = self.trials[trial_id]
                self.tuner_ids.add(tuner_id)
                self.last_heard[trial_id] = time.monotonic()


class RandomSearch(SearchOracle, keras_tuner.oracles.RandomSearchOracle):
    """Points drawn at random."""


class BayesianOptimization(
    SearchOracle, keras_tuner.oracles.BayesianOptimizationOracle
):
    """Points that a Gaussian process expects most of."""


class Hyperband(SearchOracle, keras_tuner.oracles.HyperbandOracle):
    """Many points for few epochs, then the best third for three times more.

    Each round trains anew: a learning rate that falls along a cosine cannot be
    continued.
    """


def is_over_bound(trial):
    """Returns whether a trial was refused for what its network costs."""
    return metrics_of(trial).get("over_bound") == 1.0


def metrics_of(trial):
    """Returns the latest value of each of a trial's metrics."""
    return {
        name: history.get_last_value()
        for name, history in trial.metrics.metrics.items()
    }


def _save_json(path, content):
    text = json.dumps(content)
    write_text(pathlib.Path(path), text)
    return text


config.DEBUG = False  # it would print tracebacks of trials that fail
# KerasTuner's own leaves half a file when it is killed in the middle.
utils.save_json = _save_json
