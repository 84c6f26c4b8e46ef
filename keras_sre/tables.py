"""Plain-text tables for reports."""


def aligned(rows):
    """Returns one line for each row of strings, in columns.

    Example:

    >>> aligned([("layer", "error"), ("conv", "0.1")])
    ['layer  error', 'conv   0.1']
    """
    rows = list(rows)
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    return [
        "  ".join(
            cell.ljust(width) for cell, width in zip(row, widths, strict=True)
        ).rstrip()
        for row in rows
    ]
