"""Writes safetensors files, and any file so that a crash leaves the old one or the new one."""

import contextlib
import json
import os
import struct


@contextlib.contextmanager
def replaced(path):
    """A file to write that takes the name `path` when all went well."""
    temporary = path.with_name(path.name + ".part")
    try:
        with open(temporary, "wb") as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, path)
    except BaseException:
        with contextlib.suppress(OSError):
            temporary.unlink()
        raise


def write_atomically(path, chunks):
    with replaced(path) as file:
        for chunk in chunks:
            file.write(chunk)


def header(tensors):
    """The length and the header of a file with `tensors`: name -> (dtype, shape, bytes), which stand in the order of their
    names."""
    entries, offset = {"__metadata__": {"format": "pt"}}, 0
    for name, (dtype, shape, size) in sorted(tensors.items()):
        entries[name] = {"dtype": dtype, "shape": list(shape), "data_offsets": [offset, offset + size]}
        offset += size
    text = json.dumps(entries, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 8)
    return struct.pack("<Q", len(text)) + text
