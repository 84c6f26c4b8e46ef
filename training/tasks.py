"""What a data set asks for: its loss, its predictions and its scores."""

import dataclasses

import numpy as np
from sklearn import metrics


@dataclasses.dataclass(frozen=True)
class Task:
    """A classification task, by the name that MedMNIST gives it.

    `kind` is `"multi-class"`, `"binary-class"`, `"ordinal-regression"` (whose
    grades are classes, as in MedMNIST's own benchmark) or
    `"multi-label, binary-class"`. Labels are `(n,)` ints, of the last kind
    `(n, classes)` of 0 and 1.
    """

    kind: str = "multi-class"

    @property
    def multi_label(self):
        return self.kind == "multi-label, binary-class"

    @property
    def activation(self):
        return "sigmoid" if self.multi_label else "softmax"

    @property
    def loss(self):
        if self.multi_label:
            return "binary_crossentropy"
        return "sparse_categorical_crossentropy"

    def predict(self, scores):
        """Returns labels for an array of probabilities `(n, classes)`."""
        if self.multi_label:
            return (scores > 0.5).astype("int64")
        return scores.argmax(axis=-1)

    def accuracy(self, labels, scores):
        """Returns the share of right predictions (of right labels)."""
        return float(np.mean(self.predict(scores) == labels))

    def auc(self, labels, scores):
        """Returns the mean area under the curve, one class against the rest.

        Two exclusive classes have one curve. Classes that are absent, or all
        there is, have none and do not count.
        """
        num_classes = scores.shape[-1]
        if not self.multi_label:
            labels = np.asarray(labels)[:, None] == np.arange(num_classes)
            if num_classes == 2:
                labels, scores = labels[:, 1:], scores[:, 1:]
        areas = [
            metrics.roc_auc_score(labels[:, i], scores[:, i])
            for i in range(scores.shape[-1])
            if 0 < np.sum(labels[:, i]) < len(labels)
        ]
        return float(np.mean(areas)) if areas else float("nan")

    def scores(self, labels, scores):
        """Returns accuracy, AUC, macro F1 and balanced accuracy by name."""
        predicted = self.predict(scores)
        truths, guesses = (
            (labels.T, predicted.T)
            if self.multi_label
            else ([labels], [predicted])
        )
        balanced = [
            metrics.recall_score(truth, guess, average="macro", zero_division=0)
            for truth, guess in zip(truths, guesses, strict=True)
        ]
        f1 = metrics.f1_score(
            labels, predicted, average="macro", zero_division=0
        )
        return {
            "accuracy": self.accuracy(labels, scores),
            "auc": self.auc(labels, scores),
            "f1": float(f1),
            "balanced_accuracy": float(np.mean(balanced)),
        }
