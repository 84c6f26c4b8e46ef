"""The tables of a run and of a suite."""

from rich import console
from rich import markup
from rich import table

COLUMNS = (
    "model",
    "parameters",
    "s / epoch",
    "upright",
    "rotated mean",
    "rotated worst",
    "flipped",
)


def print_results(results, dataset):
    """Prints the table of a run, and a second one of the inscribed disc."""
    title = f"{dataset}: {trained(results)}; {tested_on(results)} accuracy"
    print_table(results, title)
    if all("masked" in result for result in results):
        masked = [result | result["masked"] for result in results]
        print_table(masked, f"{dataset}: the same, inscribed disc only")


def trained(results):
    """Returns how the images of a run stood in training, as titles say it.

    Args:
        results: list of the contents of `metrics.json`, the plain twin's last.
    """
    turned = results[0].get("augment_rotation", False)
    return "trained turned and flipped" if turned else "trained upright only"


def tested_on(results):
    """Returns which split the scores of `metrics.json` are of, in a word."""
    split = results[0].get("split", "test")
    return {"val": "validation"}.get(split, split)


def print_table(results, title):
    """Prints one row of accuracies for each of a list of `metrics.json`."""
    print_rows(COLUMNS, [_cells(result) for result in results], title)


def print_frame(frame, title):
    """Prints the summary of a suite."""
    header, *rows = _formatted(frame)
    print_rows(header, rows, title, width=140)


def to_markdown(frame):
    """Returns the summary of a suite as a Markdown table."""
    header, *rows = _formatted(frame)
    lines = [header, ["---"] * len(header), *rows]
    return "".join(f"| {' | '.join(line)} |\n" for line in lines)


def print_rows(header, rows, title, width=96):
    """Prints a table of text."""
    grid = table.Table(title=markup.escape(title))
    for column in header:
        left = column in ("data set", "model", "state")
        grid.add_column(column, justify="left" if left else "right")
    for row in rows:
        grid.add_row(*map(markup.escape, row))
    console.Console(width=max(width, console.Console().width)).print(grid)


def _cells(result):
    scores = (
        result["upright"]["accuracy"],
        result["rotated"]["mean_accuracy"],
        result["rotated"]["min_accuracy"],
        result["flipped"]["mean_accuracy"],
    )
    return (
        result["model"],
        f"{result['params']:,}",
        f"{result['seconds_per_epoch']:.1f}",
        *(f"{100 * score:.1f} %" for score in scores),
    )


def _formatted(frame):
    """Returns rows of text, the header first; deviations join their means."""
    columns = [name for name in frame.columns if not name.endswith(" std")]
    rows = [columns]
    for record in frame.to_dict("records"):
        rows.append([_cell(record, column) for column in columns])
    return rows


def _cell(record, column):
    value = record[column]
    deviation = record.get(f"{column} std")
    if deviation is None:
        return f"{value:,}" if isinstance(value, int) else str(value)
    if column.endswith("AUC"):
        return f"{value:.3f} ± {deviation:.3f}"
    return f"{100 * value:.1f} ± {100 * deviation:.1f}"
