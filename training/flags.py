"""The settings of a run as flags, alike in every script that trains."""

import argparse

from models import MODELS


def add_settings(parser):
    """Adds the flags of the fields of `RunConfig`, but for the data set."""
    add = parser.add_argument
    add(
        "--root",
        help="folder of the MedMNIST .npz files (MEDMNIST_ROOT or ~/.medmnist)",
    )
    add(
        "--size",
        type=int,
        help="28, 64, 128, 224 (3D: 28, 64); textures 32; your own folder 64, "
        "an .npz file its own",
    )
    add("--recipe", default="best", help="best (the default), paper or quick")
    add(
        "--model",
        help=f"one of {', '.join(MODELS)}; trained without its plain twin if "
        "given (default: sre_resnet18, in 3D sre_resnet3d18, and its twin)",
    )
    add(
        "--width",
        type=int,
        help="filters of stage 1 (best 32, in 3D 16; paper 64, quick 16)",
    )
    add(
        "--kernel-sizes",
        type=int,
        nargs="+",
        metavar="K",
        help="odd ring kernel sizes, one per stage (5 5 3 3; paper, quick: "
        "images 9 9 5 5, volumes 5 5 5 5)",
    )
    add(
        "--num-rings",
        type=int,
        nargs="+",
        metavar="B",
        help="rings per kernel, one per stage (k // 2 + 1)",
    )
    add("--ring-profile", help="hard, area, linear, cosine or gaussian")
    add(
        "--harmonics",
        type=int,
        nargs="*",
        metavar="M",
        help="orders of the filters that see direction; none: rings alone",
    )
    add(
        "--harmonic-fraction",
        type=float,
        nargs="+",
        metavar="F",
        help="their share of the filters, of all stages or one per stage (0.5)",
    )
    add(
        "--epochs",
        type=int,
        help="(best: 1600 steps' worth; paper 100, quick 20, in 3D 10)",
    )
    add("--batch-size", type=int, help="(32; paper 128; in 3D 4)")
    add(
        "--learning-rate",
        type=float,
        help="(best 0.002; paper, quick: 0.02, in 3D 0.01)",
    )
    add(
        "--weight-decay",
        type=float,
        metavar="F",
        help="decoupled (best 0.5; paper, quick: 0.01)",
    )
    add(
        "--augment-rotation",
        action="store_true",
        help="also turn and mirror the training images, by every angle",
    )
    add("--seed", type=int, default=argparse.SUPPRESS, help="(1)")
    add("--precision", default="float32", help="float32, mixed_bfloat16, ...")
    add(
        "--interpolation",
        default="nearest",
        help="of turned test images: nearest (the paper's) or bilinear",
    )
    add("--limit", type=int, help="keep this many images of each split")
