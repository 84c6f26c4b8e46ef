"""The KerasTuner tuner whose trials are runs of `fit.py`."""

import contextlib
import dataclasses
import io
import sys
import time

import tune_report
from keras_tuner.engine.base_tuner import BaseTuner
from keras_tuner.errors import FailedTrialError
from tune_oracle import OBJECTIVE
from tune_space import config_of
from tune_space import describe
from tune_trial import Bounds
from tune_trial import TrialError
from tune_trial import run_alone
from tune_workers import PatientClient

BOUNDS = tuple(field.name for field in dataclasses.fields(Bounds))
MOST_TRIALS = 10**6


class RunTuner(BaseTuner):
    """Runs trials as `fit.py` would.

    Args:
        oracle: proposes them.
        hypermodel: `RingHyperModel`; `None` for a worker, whose chief has it.
        output: `pathlib.Path` of the folder of the search.
        root: folder of the data sets on this host, as in `RunConfig`.
        progress: bool, whether to show progress bars.
        timeout: float, seconds that a worker waits for its chief.
    """

    def __init__(
        self, oracle, hypermodel, output, root, progress=True, timeout=None
    ):
        with contextlib.redirect_stdout(io.StringIO()):  # "Reloading ..."
            super().__init__(oracle, hypermodel, output, "search")
        self.output, self.root, self.progress = output, root, progress
        if self._is_worker():
            self.oracle = PatientClient(self.oracle, timeout)

    def pre_create_trial(self):
        if self._is_worker():
            time.sleep(0.2)  # between two questions to a chief that waits

    def run_trial(self, trial):
        values = trial.hyperparameters.values
        bounds = Bounds(**{name: values.get(name) for name in BOUNDS})
        alive = contextlib.nullcontext()
        if self._is_worker():
            alive = self.oracle.heartbeat(trial.trial_id)
        try:
            config = config_of(values, self.root)
            print(f"Trial {trial.trial_id}: {describe(config)}")
            with alive:
                scores = run_alone(
                    config, self._folder(trial), bounds, self.progress
                )
        except (TrialError, ValueError) as error:
            print(f"Trial {trial.trial_id} failed: {error}", file=sys.stderr)
            raise FailedTrialError(str(error)) from error
        if scores["over_bound"]:
            scores[OBJECTIVE] = 0.0
            self.oracle.update_trial(trial.trial_id, scores)
            raise FailedTrialError("over the bound")
        return scores

    def on_trial_end(self, trial):
        """Reports the trial, and keeps the model of the best alone."""
        super().on_trial_end(trial)
        trials = self.oracle.get_best_trials(MOST_TRIALS)
        for trial in tune_report.ranked(trials)[1:]:
            (self._folder(trial) / "model.keras").unlink(missing_ok=True)

    def _folder(self, trial):
        return self.output / "trials" / trial.trial_id
