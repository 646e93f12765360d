"""CRC-32C (Castagnoli) of large pieces of memory, as TensorFlow's files carry it.

A CRC is linear over bits, so the data are cut into rows of one length whose CRCs are computed side by side with numpy,
and then joined: crc(a + b) is crc(a) moved past the length of b, exclusive-or crc(b). Moving is a 32 x 32 matrix of bits.
"""

import numpy

POLYNOMIAL = 0x82F63B78  # reflected
ROW = 2048  # bytes


def _table():
    table = numpy.arange(256, dtype=numpy.uint32)
    for _ in range(8):
        table = numpy.where(table & 1, (table >> 1) ^ numpy.uint32(POLYNOMIAL), table >> 1).astype(numpy.uint32)
    return table


TABLE = _table()


def _word_tables():
    """For the lower and the upper half of a word of 32 bits: what that half becomes past the four bytes."""
    half = numpy.arange(1 << 16, dtype=numpy.uint32)
    tables = []
    for crc in (half, half << numpy.uint32(16)):
        for _ in range(4):
            crc = TABLE[crc & numpy.uint32(255)] ^ (crc >> numpy.uint32(8))
        tables.append(crc)
    return tables


def _apply(columns, values):
    """The matrix whose columns are `columns` (32 numbers), times each of `values`."""
    result = numpy.zeros_like(values)
    for bit, column in enumerate(columns):
        result ^= numpy.where((values >> numpy.uint32(bit)) & numpy.uint32(1), column, numpy.uint32(0))
    return result


def _past_zeros(length):
    """The matrix that moves a CRC past `length` zero bytes."""
    identity = numpy.uint32(1) << numpy.arange(32, dtype=numpy.uint32)
    one = TABLE[identity & 255] ^ (identity >> 8)
    result = identity
    while length:
        if length & 1:
            result = _apply(one, result)
        one = _apply(one, one)
        length >>= 1
    return result


def crc32c(data):
    """Of a bytes-like object. Zeros put before the data do not change a CRC that begins at 0; the beginning with all ones
    that CRC-32C has is added at the end, moved past the whole length."""
    data = numpy.frombuffer(data, dtype=numpy.uint8)
    length, crc = len(data), numpy.uint32(0)
    move = _past_zeros(ROW)
    lower, upper = _word_tables()
    for begin in range(0, max(length, 1), ROW << 15):  # 64 MiB at a time
        part = data[begin : begin + (ROW << 15)]
        rows = -(-max(len(part), 1) // ROW)
        padded = numpy.zeros(rows * ROW, dtype=numpy.uint8)
        padded[rows * ROW - len(part) :] = part
        columns = numpy.ascontiguousarray(padded.view("<u4").reshape(rows, ROW // 4).T)
        states = numpy.zeros(rows, dtype=numpy.uint32)
        for column in columns:
            states ^= column
            states = lower.take(states & numpy.uint32(0xFFFF)) ^ upper.take(states >> numpy.uint32(16))
        step = move
        while len(states) > 1:  # neighbours join, from the end, so that all but the first stand for whole rows
            if len(states) % 2:
                states = numpy.concatenate([numpy.zeros(1, numpy.uint32), states])
            states = _apply(step, states[0::2]) ^ states[1::2]
            step = _apply(step, step)
        crc = _apply(_past_zeros(len(part)), numpy.array([crc]))[0] ^ states[0]
    ones = _apply(_past_zeros(length), numpy.array([0xFFFFFFFF], dtype=numpy.uint32))[0]
    return int(crc ^ ones ^ numpy.uint32(0xFFFFFFFF))


def unmasked(crc):
    """The CRC of one that is stored in a file (TensorFlow and LevelDB store them rotated and shifted)."""
    rotated = (crc - 0xA282EAD8) & 0xFFFFFFFF
    return ((rotated >> 17) | (rotated << 15)) & 0xFFFFFFFF
