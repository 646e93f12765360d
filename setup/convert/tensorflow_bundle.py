"""Reads a TensorFlow checkpoint (NAME.index, NAME.data-00000-of-00001) without TensorFlow.

The index is a sorted table in LevelDB's format: blocks of key-value entries with shared prefixes, a block that lists
them, a footer with a magic number; each block has a masked CRC-32C. Its first key, "", holds a BundleHeaderProto, each
other one a tensor's name and its BundleEntryProto: type, shape, data file, offset, size, masked CRC-32C
(tensorflow/core/protobuf/tensor_bundle.proto, tensorflow/core/lib/io/format.cc). Of protobuf only what these use is read.
"""

import mmap
import typing

from convert import CheckpointError, crc32c

MAGIC = 0xDB4775248B80FB57
FOOTER = 48
MAX_INDEX_BYTES = 256 << 20
DTYPES = {1: ("F32", 4), 2: ("F64", 8), 3: ("I32", 4), 9: ("I64", 8), 14: ("BF16", 2), 19: ("F16", 2)}


class Entry(typing.NamedTuple):
    dtype: str
    shape: tuple
    shard: int
    offset: int
    size: int  # bytes
    crc: int  # masked


def _varint(data, at):
    result = shift = 0
    while True:
        if at >= len(data) or shift > 63:
            raise CheckpointError("the index is damaged: a number does not end")
        byte = data[at]
        result |= (byte & 127) << shift
        at, shift = at + 1, shift + 7
        if byte < 128:
            return result, at


def _message(data):
    """Field number -> its values, of a protobuf message: numbers, or bytes."""
    fields, at = {}, 0
    while at < len(data):
        tag, at = _varint(data, at)
        kind = tag & 7
        if kind == 0:
            value, at = _varint(data, at)
        elif kind in (1, 2, 5):
            size, at = _varint(data, at) if kind == 2 else (8 if kind == 1 else 4, at)
            value, at = data[at : at + size], at + size
            if len(value) != size:
                raise CheckpointError("the index is damaged: a field is cut short")
            value = value if kind == 2 else int.from_bytes(value, "little")
        else:
            raise CheckpointError("the index is damaged: a field has an unknown kind")
        fields.setdefault(tag >> 3, []).append(value)
    return fields


def _number(fields, field, default=0):
    value = fields.get(field, [default])[-1]
    if not isinstance(value, int):
        raise CheckpointError("the index is damaged: a number is a text")
    return value


def _block(data, handle):
    """The entries of a block: pairs of key and value."""
    offset, at = _varint(handle, 0)
    size, _ = _varint(handle, at)
    block, trailer = data[offset : offset + size], data[offset + size : offset + size + 5]
    if len(block) != size or len(trailer) != 5 or size < 4:
        raise CheckpointError("the index is cut short")
    if crc32c.unmasked(int.from_bytes(trailer[1:], "little")) != crc32c.crc32c(block + trailer[:1]):
        raise CheckpointError("the index is damaged: a block's checksum is another one")
    if trailer[0] != 0:
        raise CheckpointError("the index is compressed; save the checkpoint anew with TensorFlow 1.1 or later")
    restarts = int.from_bytes(block[-4:], "little")
    end = size - 4 - 4 * restarts
    if end < 0:
        raise CheckpointError("the index is damaged: a block has more restarts than bytes")
    key, at = b"", 0
    while at < end:
        shared, at = _varint(block, at)
        rest, at = _varint(block, at)
        length, at = _varint(block, at)
        if shared > len(key) or at + rest + length > end:
            raise CheckpointError("the index is damaged: an entry reaches past its block")
        key = key[:shared] + block[at : at + rest]
        at += rest + length
        yield key, block[at - length : at]


def read_index(path):
    """Tensor's name -> Entry, and the number of data files."""
    if path.stat().st_size > MAX_INDEX_BYTES:
        raise CheckpointError(f"{path.name} has more than {MAX_INDEX_BYTES} bytes")
    data = path.read_bytes()
    if len(data) < FOOTER or int.from_bytes(data[-8:], "little") != MAGIC:
        raise CheckpointError(f"{path.name} is no index of a TensorFlow checkpoint, or it is cut short")
    footer = data[-FOOTER:]
    _, at = _varint(footer, 0)  # the block of metadata, of which there is none
    _, at = _varint(footer, at)
    entries, shards = {}, None
    for _, handle in _block(data, footer[at:]):
        for key, value in _block(data, handle):
            fields = _message(value)
            if not key:
                shards = _number(fields, 1)
                if _number(fields, 2) != 0:
                    raise CheckpointError("the values are not little-endian")
                continue
            name = key.decode("utf-8", "backslashreplace")
            if 7 in fields:
                raise CheckpointError(f"{name} is kept in slices, as only distributed training does; save it anew in one piece")
            dtype = DTYPES.get(_number(fields, 1))
            if dtype is None:
                raise CheckpointError(f"{name} has TensorFlow's type number {_number(fields, 1)}, which weights do not have")
            shape = tuple(_number(_message(dim), 1) for dim in _message(fields.get(2, [b""])[-1]).get(2, []))
            size = dtype[1]
            for length in shape:
                size *= length
            entry = Entry(dtype[0], shape, _number(fields, 3), _number(fields, 4), _number(fields, 5), _number(fields, 6))
            if entry.size != size:
                raise CheckpointError(f"{name} has {entry.size} bytes, which is not what a shape of {list(shape)} takes")
            entries[name] = entry
    if shards is None:
        raise CheckpointError("the index has no header")
    if any(entry.shard >= shards for entry in entries.values()):
        raise CheckpointError("the index names a data file that there is not")
    return entries, shards


class Bundle:
    """A checkpoint whose data files are mapped. `prefix` is the path without ".index"."""

    def __init__(self, prefix):
        self.entries, shards = read_index(prefix.with_name(prefix.name + ".index"))
        self._maps = []
        for shard in range(shards):
            path = prefix.with_name(f"{prefix.name}.data-{shard:05d}-of-{shards:05d}")
            if not path.is_file():
                raise CheckpointError(f"{path.name} is missing beside {prefix.name}.index")
            with open(path, "rb") as file:
                self._maps.append(mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) if path.stat().st_size else b"")

    def values(self, name):
        """The values of a tensor, in row-major order and little-endian, once their checksum was compared."""
        entry = self.entries[name]
        data = memoryview(self._maps[entry.shard])[entry.offset : entry.offset + entry.size]
        if len(data) != entry.size:
            raise CheckpointError(f"{name} reaches past the end of its data file, which is cut short")
        if crc32c.unmasked(entry.crc) != crc32c.crc32c(data):
            raise CheckpointError(f"{name} is damaged: its checksum is another one")
        return data
