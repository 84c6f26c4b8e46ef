"""What `fit.py` takes on its command line."""

import argparse

from config import DISTRIBUTIONS
from config import LOGS
from config import RING_SETTINGS
from flags import add_settings
from hosts import add_addresses
from models import PLAIN_MODELS
from suite import SUITES


def parse_args(description, argv):
    """Returns the arguments of `fit.py`."""
    parser = argparse.ArgumentParser(
        description=description,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    add = parser.add_argument
    add(
        "--dataset",
        nargs="+",
        metavar="NAME",
        help="textures (the default), names of MedMNIST v2, 2D or 3D, or the "
        "path of your own folder or .npz file",
    )
    add(
        "--suite",
        choices=SUITES,
        help="all MedMNIST sets of images, of volumes, or both",
    )
    add("--seeds", type=int, nargs="+", metavar="N", help="seeds of a suite")
    add(
        "--compare",
        action="store_true",
        help="a suite in which each network is trained beside the paper's "
        "rings, its plain twin, and that twin trained on turned images",
    )
    add_settings(parser)
    add(
        "--split",
        help="what the scores are of: test (the default), or val for all that "
        "is still to be chosen",
    )
    add("--output", help="run directory (saved_models/DATASET_MODEL)")
    add("--resume", action="store_true", help="go on with an unfinished run")
    add(
        "--log",
        nargs="+",
        default=(),
        choices=LOGS,
        help="write TensorBoard events; send to Weights & Biases",
    )
    add(
        "--distribute",
        default="none",
        choices=DISTRIBUTIONS,
        help="share each batch among the devices of this machine (data) or of "
        "several (multi-host, JAX only)",
    )
    add_addresses(parser)
    return parser.parse_args(argv)


def check_flags(args, seeds):
    """Raises `ValueError` for settings that would have no effect."""
    if args["model"] in PLAIN_MODELS:
        for name in RING_SETTINGS:
            if args[name] is not None:
                raise ValueError(
                    f"Received --{name.replace('_', '-')} with --model "
                    f"{args['model']}, which has no rings. Leave it out, or "
                    "choose an sre_ model."
                )
    if seeds and "seed" in args:
        raise ValueError(
            f"Received --seed {args['seed']} and --seeds "
            f"{' '.join(map(str, seeds))}. Give one of the two."
        )
    if len(set(seeds or ())) < len(seeds or ()):
        raise ValueError(
            f"Received --seeds {' '.join(map(str, seeds))}, one of them twice. "
            "Give each once."
        )
