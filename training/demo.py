"""A page that runs a network and its plain twin in the browser.

    python training/demo.py RUN_DIR

exports both networks of a finished run on images to LiteRT, with a feature map
each, into `RUN_DIR/demo/`, beside the page of `saved_models/demo/` and LiteRT
for browsers (WebAssembly, fetched by `npm`), and serves it on this machine
until Ctrl-C. The folder is static: any web server can serve it.
"""

import argparse
import base64
import contextlib
import functools
import http.server
import math
import os
import pathlib
import shutil
import subprocess
import sys
import tempfile

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")

import evaluate
import keras
import numpy as np
from data import scale
from feature_map import feature_map
from finished_run import folders_of_both
from finished_run import read_data
from finished_run import read_network
from finished_run import read_run
from run_directory import CONFIG
from run_directory import MODEL
from run_directory import write_json

import keras_sre

PAGE = pathlib.Path(__file__).parents[1] / "saved_models" / "demo"
PAGE_FILES = ("index.html", "demo.js")
RUNTIME = "@litertjs/core@2.5.3"
# What the page needs of it, and where: the program that modern browsers run,
# and the one without relaxed SIMD.
VENDORED = {
    "core/dist/index.js": "core/index.js",
    "core/package.json": "core/package.json",  # names its licence
    "wasm-utils/dist/index.js": "wasm-utils/index.js",
    "core/wasm/litert_wasm_internal.*": "wasm",
    "core/wasm/litert_wasm_compat_internal.*": "wasm",
}
NUM_PICTURES = 12
TITLES = {"rings": "Ring network", "plain": "Plain CNN"}


def build(run):
    """Writes the page of a run directory into its folder `demo`.

    Args:
        run: `pathlib.Path` of a run on images with one label each, whose plain
            twin is in `plain/`.

    Returns:
        Path of the folder, which was complete when it took that name.

    Raises:
        ValueError: if the run is another, or `npm` does not work.
        keras_sre.ExportError: if an exported network differs from Keras.
    """
    _, twin = folders_of_both(run)
    config, network = read_run(run, [CONFIG])
    networks = {"rings": network, "plain": read_network(twin / MODEL)}
    dataset = read_data(run, config)
    if len(dataset.image_shape) != 3 or dataset.task.multi_label:
        raise ValueError(f"{run} is not of images with one label each.")
    with tempfile.TemporaryDirectory(dir=run, prefix=".demo-") as temporary:
        folder = pathlib.Path(temporary, "demo")
        folder.mkdir()
        for name in PAGE_FILES:
            shutil.copy(PAGE / name, folder)
        vendor(folder / "vendor")
        images, labels = choose(networks.values(), *dataset.splits["test"])
        images = scale(images)
        described = [
            {
                "name": name,
                "title": TITLES[name],
                "model": network.name,
                "file": f"{name}.tflite",
                "parameters": sum(
                    math.prod(weight.shape)
                    for weight in network.trainable_weights
                ),
                "bytes": export_with_map(
                    network, folder / f"{name}.tflite", images
                ),
            }
            for name, network in networks.items()
        ]
        # Pictures are as the networks take them: float32 around 0.
        description = {
            "dataset": pathlib.Path(dataset.name).name,
            "licence_of_data": config["dataset_licence"],
            "labels": list(dataset.classes),
            "input_shape": list(dataset.image_shape),
            "trained_turned": config["augment_rotation"],
            "networks": described,
            "pictures": [
                {
                    "label": int(label),
                    "values": base64.b64encode(
                        image.astype("<f4").tobytes()
                    ).decode(),
                }
                for image, label in zip(images, labels, strict=True)
            ],
        }
        write_json(folder / "demo.json", description)
        final = run / "demo"
        if final.exists():
            final.rename(pathlib.Path(temporary, "earlier"))
        folder.rename(final)
    return final


def choose(networks, images, labels):
    """Returns test images that all networks get right upright, class by class.

    Where there are none, those that come first.
    """
    labels = np.ravel(labels)
    right = evaluate.all_right(networks, images, labels)
    numbers = np.flatnonzero(right) if right.any() else np.arange(len(labels))
    # The first of each class, then the second of each, ...
    seen = {}
    ranks = []
    for number in numbers:
        label = int(labels[number])
        seen[label] = seen.get(label, 0) + 1
        ranks.append(seen[label])
    order = np.lexsort((labels[numbers], ranks))
    numbers = numbers[order][:NUM_PICTURES]
    return np.asarray(images[np.sort(numbers)]), labels[np.sort(numbers)]


def export_with_map(network, path, images):
    """Exports a network that returns a feature map beside the scores.

    Returns:
        The size of the file in bytes. The map adds next to nothing.
    """
    shown = feature_map(network, images[:1])
    both = keras.Model(network.input, [network.output, shown])
    report = keras_sre.export(both, path, representative_data=images)
    return report.bytes


def vendor(folder):
    """Fetches LiteRT for browsers.

    Raises:
        ValueError: if there is no `npm`, or it fails.
    """
    with tempfile.TemporaryDirectory() as temporary:
        command = ["npm", "install", "--no-save", "--ignore-scripts"]
        try:
            subprocess.run(
                [*command, "--prefix", temporary, RUNTIME],
                capture_output=True,
                text=True,
                check=True,
            )
        except FileNotFoundError as error:
            raise ValueError(
                "The page needs LiteRT for browsers, and npm to fetch it: "
                "install Node.js."
            ) from error
        except subprocess.CalledProcessError as error:
            raise ValueError(
                f"npm cannot fetch {RUNTIME}: {_reason(error)}"
            ) from error
        packages = pathlib.Path(temporary, "node_modules", "@litertjs")
        for source, target in VENDORED.items():
            for path in packages.glob(source):
                to = folder / target
                if not to.suffix:
                    to /= path.name
                to.parent.mkdir(parents=True, exist_ok=True)
                shutil.copy(path, to)


def _reason(error):
    """Returns the line of npm's that says why it failed."""
    lines = [
        line.removeprefix("npm error ").strip()
        for line in error.stderr.splitlines()
        if line.startswith("npm error ")
    ]
    said = [line for line in lines if line and not line.startswith("code ")]
    return said[0] if said else f"exit status {error.returncode}"


def make_server(folder, port):
    """Returns a server of a folder on this machine alone.

    Args:
        folder: path, which need not be there yet.
        port: int, 0 for any that is free.

    Raises:
        ValueError: if the port is none, or in use.
    """

    class Handler(http.server.SimpleHTTPRequestHandler):
        extensions_map = {
            **http.server.SimpleHTTPRequestHandler.extensions_map,
            ".js": "text/javascript",
            ".wasm": "application/wasm",
        }

        def end_headers(self):
            self.send_header("Cache-Control", "no-cache")  # another run may be
            super().end_headers()

        def log_message(self, *arguments):
            pass

    handler = functools.partial(Handler, directory=folder)
    try:
        return http.server.ThreadingHTTPServer(("127.0.0.1", port), handler)
    except (OSError, OverflowError) as error:
        raise ValueError(
            f"Cannot serve at port {port}: {error}. Give another, such as "
            "--port 0, which takes any that is free."
        ) from error


def main(argv=None):
    parser = argparse.ArgumentParser(
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("run", type=pathlib.Path, metavar="RUN_DIR")
    parser.add_argument("--port", type=int, default=8000, help="(8000)")
    parser.add_argument(
        "--build-only", action="store_true", help="write it, do not serve it"
    )
    args = parser.parse_args(argv)
    try:
        if args.build_only:
            print(f"Written: {build(args.run)}")
            return
        with make_server(args.run / "demo", args.port) as server:
            print(f"Written: {build(args.run)}")
            print(f"http://localhost:{server.server_port} (Ctrl-C ends it)")
            with contextlib.suppress(KeyboardInterrupt):
                server.serve_forever()
    except (ValueError, OSError, keras_sre.ExportError) as error:
        sys.exit(f"demo.py: {error}")
    except KeyboardInterrupt:
        sys.exit("demo.py: interrupted.")


if __name__ == "__main__":
    main()
