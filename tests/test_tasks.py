"""Scores, against MedMNIST's own evaluator."""

import contextlib
import io

import numpy as np
import pytest
from evaluate import official_scores
from sklearn import metrics
from tasks import Task

pytest.importorskip("medmnist.info")
KINDS = (
    "multi-class",
    "binary-class",
    "ordinal-regression",
    "multi-label, binary-class",
)


def _example(kind, rng):
    count, classes = 200, 2 if kind == "binary-class" else 5
    scores = rng.random((count, classes))
    if kind == KINDS[3]:
        return (rng.random((count, classes)) < scores).astype(int), scores
    scores /= scores.sum(axis=1, keepdims=True)
    return np.array([rng.choice(classes, p=p) for p in scores]), scores


@pytest.mark.parametrize("kind", KINDS)
def test_scores_equal_the_official_evaluator(kind, rng):
    labels, scores = _example(kind, rng)
    with contextlib.redirect_stdout(io.StringIO()):
        official = official_scores(labels, scores, Task(kind))
    ours = Task(kind).scores(labels, scores)
    for name, value in official.items():
        assert ours[name] == pytest.approx(value, abs=1e-12)


@pytest.mark.parametrize("kind", KINDS)
def test_balanced_accuracy_equals_scikit_learn(kind, rng):
    labels, scores = _example(kind, rng)
    found = Task(kind).scores(labels, scores)["balanced_accuracy"]
    if kind == KINDS[3]:
        expected = np.mean(
            [
                metrics.balanced_accuracy_score(
                    labels[:, i], scores[:, i] > 0.5
                )
                for i in range(labels.shape[1])
            ]
        )
    else:
        expected = metrics.balanced_accuracy_score(labels, scores.argmax(1))
    assert found == pytest.approx(expected)


def test_labels_of_several_are_decided_on_probabilities():
    # The official training code compares logits with 0.5 instead.
    task = Task(KINDS[3])
    assert task.activation == "sigmoid"
    assert task.predict(np.array([[0.4, 0.6]])).tolist() == [[0, 1]]


def test_a_class_without_examples_does_not_count(rng):
    scores = rng.random((50, 3))
    labels = (scores[:, 1] > 0.5).astype(int)  # class 2 is absent
    areas = [metrics.roc_auc_score(labels == i, scores[:, i]) for i in (0, 1)]
    assert Task().auc(labels, scores) == pytest.approx(np.mean(areas))
    assert np.isnan(Task().auc(np.zeros(5, int), rng.random((5, 2))))
