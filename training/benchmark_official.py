"""Runs networks of the official PyTorch packages, for `benchmark.py`.

Started by `benchmark.py --torch-python PATH` with that interpreter, which has
torch and SRE_Conv or GMR_Conv (or both) but neither Keras nor this package. A
line on standard input, such as `["official SRE 9 9 5 5", "step"]`, runs one
training step or inference; a line on standard output says that it is done. The
first line there lists the networks.
"""

import contextlib
import importlib
import json
import sys

import torch

BATCH, SIDE, CLASSES = 32, 32, 10
KERNEL_SIZES = [9, 9, 5, 5]
# Package, function and the name of the argument that sizes its kernels.
NETWORKS = {
    "official SRE 9 9 5 5": ("SRE_Conv", "sre_resnet18", "sre_conv_size"),
    "official GMR 9 9 5 5": ("GMR_Conv", "gmr_resnet18", "gmr_conv_size"),
}


def main():
    torch.manual_seed(0)
    answers = sys.stdout
    with contextlib.redirect_stdout(sys.stderr):  # the packages print
        works = {}
        for name, (package, function, sizes) in NETWORKS.items():
            with contextlib.suppress(ImportError):
                module = importlib.import_module(package)
                network = getattr(module, function)(
                    num_classes=CLASSES,
                    skip_first_maxpool=True,
                    **{sizes: KERNEL_SIZES},
                )
                works[name] = make_works(network)
        print(json.dumps(list(works)), file=answers, flush=True)
        for line in sys.stdin:
            name, work = json.loads(line)
            works[name][work]()
            print("done", file=answers, flush=True)


def make_works(network):
    """Returns what can be asked of a network, a dict of functions."""
    x = torch.randn(BATCH, 3, SIDE, SIDE)
    y = torch.randint(CLASSES, (BATCH,))
    optimizer = torch.optim.SGD(network.parameters(), 1e-3, momentum=0.9)

    def step():
        if not network.training:  # which also drops a kernel kept for inference
            network.train()
        optimizer.zero_grad()
        torch.nn.functional.cross_entropy(network(x), y).backward()
        optimizer.step()

    def inference():
        if network.training:
            network.eval()
        with torch.inference_mode():
            network(x)

    return {"step": step, "inference": inference}


if __name__ == "__main__":
    main()
