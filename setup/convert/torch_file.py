"""Reads what torch.save wrote (.bin, .pt, .pth) without PyTorch, and without running any code of the file.

Two formats: a zip archive (since PyTorch 1.6: data.pkl, and each storage as a stored member), and the one before: five
pickles in a row (magic number, version, system, the object, the order of the storages), then each storage as its number
of values and its raw bytes. The pickles go through an unpickler that knows the names which lists of tensors consist of;
any other name is refused, and named. What it builds are plain containers and descriptions of tensors; values stay in the
file, which is mapped. Needs Python 3.9 and no package.
"""

import collections
import contextlib
import io
import mmap
import pickle
import struct
import typing
import zipfile
import zlib

from convert import CheckpointError

LEGACY_MAGIC = 0x1950A86A20F9469CFC6C
LEGACY_PROTOCOL = 1001
MAX_PICKLE_BYTES = 1 << 30  # of data.pkl: names and shapes, no values
MAX_RANK = 32


class StorageType(typing.NamedTuple):
    """Stands for torch.FloatStorage and its like."""

    dtype: str  # as safetensors names it; "": bytes of no type (torch.UntypedStorage)
    size: int  # bytes of a value


class Dtype(typing.NamedTuple):
    """Stands for torch.float8_e4m3fn and its like, where a storage is untyped."""

    dtype: str
    size: int


class Storage(typing.NamedTuple):
    """A storage, as a pickle refers to it."""

    dtype: str
    size: int
    key: str
    count: int  # values


class Tensor(typing.NamedTuple):
    """A view of a storage. It is immutable, as are the types above: a pickle can set attributes of what it made."""

    storage: Storage
    dtype: str
    size: int  # bytes of a value
    offset: int  # in values, as are the strides
    shape: tuple
    strides: tuple

    @property
    def count(self):
        result = 1
        for size in self.shape:
            result *= size
        return result

    @property
    def nbytes(self):
        return self.count * self.size


def _is_count(value):
    return type(value) is int and 0 <= value < 1 << 62


def _make_tensor(storage, dtype, offset, shape, strides):
    shape, strides = tuple(shape), tuple(strides)
    if not isinstance(storage, Storage) or not all(map(_is_count, (offset,) + shape + strides)):
        raise CheckpointError("a tensor's storage, offset, shape or strides have an unknown form")
    if len(shape) != len(strides) or len(shape) > MAX_RANK:
        raise CheckpointError(f"a tensor has {len(shape)} sizes and {len(strides)} strides")
    tensor = Tensor(storage, dtype.dtype, dtype.size, offset, shape, strides)
    if tensor.count == 0:
        return tensor
    last = offset + sum((size - 1) * stride for size, stride in zip(shape, strides))
    if (last + 1) * dtype.size > storage.count * storage.size:
        raise CheckpointError(f"a tensor of shape {list(shape)} reaches past its storage")
    if tensor.nbytes > storage.count * storage.size:
        raise CheckpointError(f"a tensor of shape {list(shape)} repeats the values of a smaller storage; save a contiguous copy of it")
    return tensor


class _Callable:
    """What a pickle may call. An object without attributes rather than a function: nothing of it can be set."""

    __slots__ = ()


class _RebuildTensor(_Callable):  # torch._utils._rebuild_tensor, _rebuild_tensor_v2
    __slots__ = ()

    def __call__(self, storage, offset, shape, strides, *_):
        if isinstance(storage, Storage) and not storage.dtype:
            raise CheckpointError("a tensor over an untyped storage has no type")
        return _make_tensor(storage, storage, offset, shape, strides)


class _RebuildTensor3(_Callable):  # torch._utils._rebuild_tensor_v3
    __slots__ = ()

    def __call__(self, storage, offset, shape, strides, requires_grad, hooks, dtype, *_):
        if not isinstance(dtype, Dtype):
            raise CheckpointError("a tensor's type has an unknown form")
        return _make_tensor(storage, dtype, offset, shape, strides)


class _RebuildParameter(_Callable):  # torch._utils._rebuild_parameter
    __slots__ = ()

    def __call__(self, data, *_):
        if not isinstance(data, Tensor):
            raise CheckpointError("a parameter's data is no tensor")
        return data


class _Size(_Callable):  # torch.Size
    __slots__ = ()

    def __call__(self, sizes=()):
        return tuple(sizes)


_STORAGES = {"Float": ("F32", 4), "Double": ("F64", 8), "Half": ("F16", 2), "BFloat16": ("BF16", 2), "Long": ("I64", 8),
             "Int": ("I32", 4), "Short": ("I16", 2), "Char": ("I8", 1), "Byte": ("U8", 1), "Bool": ("BOOL", 1)}
_DTYPES = {"float32": ("F32", 4), "float64": ("F64", 8), "float16": ("F16", 2), "bfloat16": ("BF16", 2), "int64": ("I64", 8),
           "int32": ("I32", 4), "int16": ("I16", 2), "int8": ("I8", 1), "uint8": ("U8", 1), "uint16": ("U16", 2),
           "uint32": ("U32", 4), "uint64": ("U64", 8), "bool": ("BOOL", 1), "float8_e4m3fn": ("F8_E4M3", 1),
           "float8_e5m2": ("F8_E5M2", 1)}
ALLOWED = {
    ("collections", "OrderedDict"): collections.OrderedDict,
    ("torch._utils", "_rebuild_tensor"): _RebuildTensor(),
    ("torch._utils", "_rebuild_tensor_v2"): _RebuildTensor(),
    ("torch._utils", "_rebuild_tensor_v3"): _RebuildTensor3(),
    ("torch._utils", "_rebuild_parameter"): _RebuildParameter(),
    ("torch", "Size"): _Size(),
    ("torch.storage", "UntypedStorage"): StorageType("", 1),
    **{("torch", f"{name}Storage"): StorageType(*of) for name, of in _STORAGES.items()},
    **{("torch", name): Dtype(*of) for name, of in _DTYPES.items()},
}


class RestrictedUnpickler(pickle.Unpickler):
    def __init__(self, file):
        super().__init__(file, encoding="utf-8")
        self.storages = {}  # key -> Storage

    def find_class(self, module, name):
        if (module, name) not in ALLOWED:
            raise CheckpointError(f"the file names {module}.{name}, which a list of tensors has no use for; loading it would run code")
        return ALLOWED[module, name]

    def persistent_load(self, reference):
        if not isinstance(reference, tuple) or len(reference) not in (5, 6) or reference[0] != "storage":
            raise CheckpointError("a reference to a storage has an unknown form")
        _, storage_type, key, _, count = reference[:5]
        if not isinstance(storage_type, StorageType) or not isinstance(key, str) or not _is_count(count):
            raise CheckpointError("a reference to a storage has an unknown form")
        if len(reference) == 6 and reference[5] is not None:
            raise CheckpointError("a storage is a view of another one, as only very old files have it; save it anew with PyTorch")
        storage = Storage(storage_type.dtype, storage_type.size, key, count)
        if self.storages.setdefault(key, storage) != storage:
            raise CheckpointError(f"storage {key!r} is described in two ways")
        return storage


def _load(file):
    """The object of the next pickle of a file, and the storages that it refers to."""
    unpickler = RestrictedUnpickler(file)
    try:
        return unpickler.load(), unpickler.storages
    except CheckpointError:
        raise
    except Exception as error:  # a broken pickle can make nearly any error
        raise CheckpointError(f"the pickle is broken ({type(error).__name__}: {str(error)[:200]})") from None


class TorchFile(contextlib.AbstractContextManager):
    """An open file. `content` is what was saved, with a Tensor in the place of each tensor."""

    def __init__(self, path):
        self._data = {}  # storage key -> (offset in the file, bytes)
        self._file = open(path, "rb")
        try:
            start = self._file.read(4)
            self._file.seek(0)
            self._map = mmap.mmap(self._file.fileno(), 0, access=mmap.ACCESS_READ) if start else b""
            if start == b"PK\x03\x04":
                self._read_zip()
            else:
                self._read_legacy()
        except BaseException:
            self.close()
            raise

    def __exit__(self, *_):
        self.close()

    def close(self):
        self._file.close()  # the map goes with its last view

    def chunks(self, tensor):
        """The tensor's values in row-major order, little-endian, in pieces."""
        start, size = self._data[tensor.storage.key]
        storage = memoryview(self._map)[start : start + size]
        count = tensor.count
        if count == 0:
            return
        axes = [(size, stride) for size, stride in zip(tensor.shape, tensor.strides) if size != 1]
        expected = 1
        for size, stride in reversed(axes):
            if stride != expected:
                break
            expected *= size
        else:
            yield storage[tensor.offset * tensor.size : (tensor.offset + count) * tensor.size]
            return
        whole = len(storage) // tensor.size * tensor.size
        values = storage[:whole].cast({1: "B", 2: "H", 4: "I", 8: "Q"}[tensor.size])
        (inner, step), outer = axes[-1], axes[:-1]
        row = bytearray()
        for index in range(count // inner):
            first = tensor.offset
            for size, stride in reversed(outer):
                index, at = divmod(index, size)
                first += at * stride
            if step == 0:
                row += values[first : first + 1].tobytes() * inner
            else:
                row += values[first : first + (inner - 1) * step + 1 : step].tobytes()
            if len(row) >= 1 << 20:
                yield bytes(row)
                row.clear()
        yield bytes(row)

    def _read_zip(self):
        try:
            archive = zipfile.ZipFile(self._file)
        except Exception:  # of several classes, by what is broken
            raise CheckpointError("the zip archive is broken or cut short") from None
        members = {member.filename: member for member in archive.infolist()}
        found = [name for name in members if name.count("/") == 1 and name.endswith("/data.pkl")]
        if len(found) != 1:
            raise CheckpointError("the zip archive has no data.pkl: it is not what torch.save writes")
        prefix = found[0][: -len("data.pkl")]
        if prefix + "constants.pkl" in members:
            raise CheckpointError("this is a TorchScript program, not a list of tensors; save the model's state_dict() with torch.save")
        if members[found[0]].file_size > MAX_PICKLE_BYTES:
            raise CheckpointError(f"data.pkl has {members[found[0]].file_size} bytes; the limit is {MAX_PICKLE_BYTES}")
        if prefix + "byteorder" in members and self._member(archive, prefix + "byteorder") != b"little":
            raise CheckpointError("the values are not little-endian; save them anew on a machine of this kind")
        text = self._member(archive, found[0])
        self.content, storages = _load(io.BytesIO(text))
        for key, storage in storages.items():
            member = members.get(f"{prefix}data/{key}")
            if member is None or member.compress_type != zipfile.ZIP_STORED or member.file_size != storage.count * storage.size:
                raise CheckpointError(f"storage {key!r} is missing, is compressed or has another size than its {storage.count} values")
            # The local header repeats the name and may have another extra field than the archive's list.
            header = self._map[member.header_offset : member.header_offset + 30]
            if len(header) != 30 or header[:4] != b"PK\x03\x04":
                raise CheckpointError(f"storage {key!r} does not stand where the archive's list says")
            name, extra = struct.unpack("<HH", header[26:30])
            start = member.header_offset + 30 + name + extra
            if start + member.file_size > len(self._map):
                raise CheckpointError("the file is cut short")
            if zlib.crc32(memoryview(self._map)[start : start + member.file_size]) != member.CRC and member.file_size:
                raise CheckpointError(f"storage {key!r} is damaged: its checksum is another one")
            self._data[key] = (start, member.file_size)

    @staticmethod
    def _member(archive, name):
        try:
            return archive.read(name)
        except Exception as error:
            raise CheckpointError(f"{name} in the zip archive is damaged ({str(error)[:200]})") from None

    def _read_legacy(self):
        if not self._map or _load(self._file)[0] != LEGACY_MAGIC:
            raise CheckpointError("this is not what torch.save writes: neither a zip archive nor the format before 1.6")
        if _load(self._file)[0] != LEGACY_PROTOCOL:
            raise CheckpointError(f"the protocol version is not {LEGACY_PROTOCOL}")
        system = _load(self._file)[0]
        if not isinstance(system, dict) or system.get("little_endian") is not True:
            raise CheckpointError("the values are not little-endian; save them anew on a machine of this kind")
        self.content, storages = _load(self._file)
        keys = _load(self._file)[0]
        if not isinstance(keys, list) or sorted(map(str, keys)) != sorted(storages):
            raise CheckpointError("the list of storages does not fit the tensors")
        for key in keys:
            storage = storages[key]
            count = self._file.read(8)
            if len(count) != 8 or struct.unpack("<q", count)[0] != storage.count:
                raise CheckpointError(f"storage {key!r} does not have the {storage.count} values announced")
            start, size = self._file.tell(), storage.count * storage.size
            if start + size > len(self._map):
                raise CheckpointError("the file is cut short")
            self._data[key] = (start, size)
            self._file.seek(size, 1)
