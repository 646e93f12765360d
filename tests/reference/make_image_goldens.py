"""Makes tests/goldens/images and tests/goldens/resize: small picture files and the RGB pixels that Pillow sees in them.

Needs Pillow 13 and numpy: python tests/reference/make_image_goldens.py
Each NAME.EXT in images/ has a NAME.EXT.ppm beside it, unless it is one that must be refused.
"""

import io
import pathlib
import struct
import zlib

import numpy
from PIL import Image, ImageDraw, ImageOps

GOLDENS = pathlib.Path(__file__).resolve().parents[1] / "goldens"
IMAGES, RESIZE = GOLDENS / "images", GOLDENS / "resize"


def scene(width=37, height=26):
    """Smooth colours, sharp edges and no symmetry."""
    x, y = numpy.meshgrid(numpy.linspace(0, 1, width), numpy.linspace(0, 1, height))
    picture = Image.fromarray(numpy.stack([255 * x, 255 * y, 255 * (1 - x) * y], -1).astype(numpy.uint8))
    draw = ImageDraw.Draw(picture)
    draw.rectangle([3, 2, 11, 8], fill=(250, 240, 20))
    draw.ellipse([20, 12, 33, 22], fill=(10, 40, 200))
    return picture


def alpha(width=37, height=26):
    ramp = numpy.tile(numpy.linspace(0, 255, width), (height, 1)).astype(numpy.uint8)
    ramp[:5, :5] = 0
    return Image.fromarray(ramp)


def on_white(picture):
    picture = picture.convert("RGBA")
    white = Image.new("RGBA", picture.size, "white")
    return Image.alpha_composite(white, picture).convert("RGB")


def save_ppm(path, picture):
    path.write_bytes(b"P6\n%d %d\n255\n" % picture.size + picture.convert("RGB").tobytes())


def keep(name, data, expected=None):
    """Writes a file, and what Pillow sees in it (or what is given, where Pillow cannot tell)."""
    (IMAGES / name).write_bytes(data)
    if expected is None:
        picture = ImageOps.exif_transpose(Image.open(io.BytesIO(data)))
        has_alpha = picture.mode in ("RGBA", "LA", "PA") or "transparency" in picture.info
        expected = on_white(picture) if has_alpha else picture.convert("RGB")
    save_ppm(IMAGES / (name + ".ppm"), expected)


def saved(picture, format, **options):
    buffer = io.BytesIO()
    picture.save(buffer, format, **options)
    return buffer.getvalue()


def png_chunk(kind, data):
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


def png(width, height, depth, colour, rows, extra=()):
    """A PNG by hand, for what Pillow does not write. rows: bytes of each row."""
    body = zlib.compress(b"".join(b"\0" + row for row in rows), 9)
    chunks = [png_chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, depth, colour, 0, 0, 0)), *extra]
    return b"\x89PNG\r\n\x1a\n" + b"".join(chunks) + png_chunk(b"IDAT", body) + png_chunk(b"IEND", b"")


def adam7(picture):
    """An interlaced PNG."""
    pixels, body = numpy.asarray(picture), b""
    for x, y, dx, dy in [(0, 0, 8, 8), (4, 0, 8, 8), (0, 4, 4, 8), (2, 0, 4, 4), (0, 2, 2, 4), (1, 0, 2, 2), (0, 1, 1, 2)]:
        part = pixels[y::dy, x::dx]
        body += b"".join(b"\0" + row.tobytes() for row in part) if part.size else b""
    header = struct.pack(">IIBBBBB", picture.width, picture.height, 8, 2, 0, 0, 1)
    return b"\x89PNG\r\n\x1a\n" + png_chunk(b"IHDR", header) + png_chunk(b"IDAT", zlib.compress(body, 9)) + png_chunk(b"IEND", b"")


def bmp(width, height, bits, compression, masks, rows, from_top=False):
    """A BMP by hand. masks: red, green, blue and perhaps alpha; rows from the bottom, padded to 4 bytes."""
    extra = b"".join(struct.pack("<I", mask) for mask in masks)
    size = 40 if len(masks) <= 3 else 108
    information = struct.pack("<IiiHHIIiiII", size, width, -height if from_top else height, 1, bits, compression, 0, 2835, 2835, 0, 0)
    information += extra if size == 40 else (extra + b"BGRs" + bytes(48))
    data = b"".join(row + bytes(-len(row) % 4) for row in rows)
    offset = 14 + len(information)
    return b"BM" + struct.pack("<IHHI", offset + len(data), 0, 0, offset) + information + data


def exif(orientation, order="<"):
    head = b"II*\0" if order == "<" else b"MM\0*"
    return head + struct.pack(order + "IHHHIHHI", 8, 1, 0x0112, 3, 1, orientation, 0, 0)


def make_images():
    rgb = scene()
    rgba = rgb.copy()
    rgba.putalpha(alpha())
    grey = rgb.convert("L")
    pixels = numpy.asarray(rgb)

    keep("baseline.jpg", saved(rgb, "JPEG", quality=90))
    keep("subsampled_444.jpg", saved(rgb, "JPEG", quality=90, subsampling=0))
    keep("progressive.jpg", saved(rgb, "JPEG", quality=90, progressive=True))
    keep("grey.jpg", saved(grey, "JPEG", quality=90))
    cmyk = saved(rgb.convert("CMYK"), "JPEG", quality=95)
    keep("cmyk.jpg", cmyk)
    adobe = cmyk.index(b"Adobe")
    keep("ycck.jpg", cmyk[: adobe + 11] + b"\2" + cmyk[adobe + 12 :])
    for orientation in range(1, 9):
        data = exif(orientation, "<" if orientation % 2 else ">")
        keep(f"orientation_{orientation}.jpg", saved(rgb, "JPEG", quality=90, exif=b"Exif\0\0" + data))

    keep("rgb.png", saved(rgb, "PNG"))
    keep("rgba.png", saved(rgba, "PNG"))
    keep("grey.png", saved(grey, "PNG"))
    keep("grey_alpha.png", saved(rgba.convert("LA"), "PNG"))
    keep("palette.png", saved(rgb.quantize(13), "PNG"))
    keep("palette_alpha.png", saved(rgba.quantize(16), "PNG"))
    keep("one_bit.png", saved(grey.convert("1"), "PNG"))
    keep("interlaced.png", adam7(rgb), rgb)
    keep("orientation_6.png", saved(rgb, "PNG", exif=exif(6)))
    nibbles = numpy.asarray(grey) >> 4
    packed = numpy.pad(nibbles, ((0, 0), (0, 1)))
    packed = (packed[:, 0::2] << 4 | packed[:, 1::2]).astype(numpy.uint8)
    expected = nibbles.astype(numpy.uint8) * 17
    expected[nibbles == 5] = 255
    transparent = png_chunk(b"tRNS", struct.pack(">H", 5))
    keep("grey_4bit_transparent.png", png(37, 26, 4, 0, [row.tobytes() for row in packed], [transparent]), Image.fromarray(expected))
    mask = (pixels == (250, 240, 20)).all(-1)
    expected = pixels.copy()
    expected[mask] = 255
    transparent = png_chunk(b"tRNS", struct.pack(">HHH", 250, 240, 20))
    keep("rgb_transparent.png", png(37, 26, 8, 2, [row.tobytes() for row in pixels], [transparent]), Image.fromarray(expected))
    wide = (pixels.astype(numpy.uint16) * 257 // 3 * 2).astype(">u2")
    expected = numpy.round(wide.astype(float) / 257).astype(numpy.uint8)
    keep("rgb_16bit.png", png(37, 26, 16, 2, [row.tobytes() for row in wide]), Image.fromarray(expected))
    keep("grey_16bit.png", png(37, 26, 16, 0, [row[:, 0].tobytes() for row in wide]), Image.fromarray(expected[:, :, 0]))
    opacity = (numpy.asarray(alpha()).astype(numpy.uint16) * 257).astype(">u2")[:, :, None]
    share = opacity.astype(float) / 65535
    blended = numpy.round((wide.astype(float) * share + 65535 * (1 - share)) / 257).astype(numpy.uint8)
    rows = numpy.concatenate([wide, opacity], -1).astype(">u2")
    keep("rgba_16bit.png", png(37, 26, 16, 6, [row.tobytes() for row in rows]), Image.fromarray(blended))

    keep("lossy.webp", saved(rgb, "WEBP", quality=90))
    keep("lossless.webp", saved(rgb, "WEBP", lossless=True))
    keep("lossy_alpha.webp", saved(rgba, "WEBP", quality=90, exact=True))
    keep("lossless_alpha.webp", saved(rgba, "WEBP", lossless=True, exact=True))
    keep("orientation_8.webp", saved(rgb, "WEBP", quality=90, exif=exif(8)))

    keep("rgb.bmp", saved(rgb, "BMP"))
    keep("grey.bmp", saved(grey, "BMP"))
    keep("palette.bmp", saved(rgb.quantize(13), "BMP"))
    keep("one_bit.bmp", saved(grey.convert("1"), "BMP"))
    bgr = numpy.ascontiguousarray(pixels[:, :, ::-1])
    keep("from_top.bmp", bmp(37, 26, 24, 0, [], [row.tobytes() for row in bgr], from_top=True))
    unused = numpy.dstack([bgr, numpy.zeros((26, 37), numpy.uint8)])
    keep("rgb_32bit.bmp", bmp(37, 26, 32, 0, [], [row.tobytes() for row in unused[::-1]]), rgb)
    five = (pixels >> 3).astype("<u2")
    expected = ((pixels >> 3) << 3 | (pixels >> 3) >> 2).astype(numpy.uint8)
    rows = five[:, :, 0] << 10 | five[:, :, 1] << 5 | five[:, :, 2]
    keep("rgb_555.bmp", bmp(37, 26, 16, 0, [], [row.astype("<u2").tobytes() for row in rows[::-1]]), Image.fromarray(expected))
    six = (pixels >> 2).astype("<u2")
    expected[:, :, 1] = (pixels[:, :, 1] >> 2) << 2 | (pixels[:, :, 1] >> 2) >> 4
    rows = five[:, :, 0] << 11 | six[:, :, 1] << 5 | five[:, :, 2]
    masks = [0xF800, 0x07E0, 0x001F]
    keep("rgb_565.bmp", bmp(37, 26, 16, 3, masks, [row.astype("<u2").tobytes() for row in rows[::-1]]), Image.fromarray(expected))
    layers = numpy.dstack([bgr, numpy.asarray(alpha())])
    masks = [0xFF0000, 0xFF00, 0xFF, 0xFF000000]
    keep("rgba_fields.bmp", bmp(37, 26, 32, 3, masks, [row.tobytes() for row in layers[::-1]]), on_white(rgba))

    # To be refused.
    frames = [rgb, ImageOps.mirror(rgb)]
    refused = {
        "animated.webp": saved(rgb, "WEBP", save_all=True, append_images=frames[1:], lossless=True),
        "animated.png": saved(rgb, "PNG", save_all=True, append_images=frames[1:]),
        "still.gif": saved(rgb, "GIF"),
        "still.tiff": saved(rgb, "TIFF"),
        "run_length.bmp": bmp(4, 1, 8, 1, [], [b"\4\0\0\1"]),
    }
    # 32768 x 32768 one-bit pixels: 96 MB of zeros in 96 KB.
    squeezer = zlib.compressobj(9)
    body = b"".join(squeezer.compress(bytes(4097)) for _ in range(24000)) + squeezer.flush()
    header = struct.pack(">IIBBBBB", 32768, 32768, 1, 0, 0, 0, 0)
    refused["huge.png"] = (
        b"\x89PNG\r\n\x1a\n" + png_chunk(b"IHDR", header) + png_chunk(b"IDAT", body) + png_chunk(b"IEND", b"")
    )
    for name, data in refused.items():
        (IMAGES / name).write_bytes(data)


def make_resized():
    noise = numpy.random.default_rng(3).integers(0, 256, (29, 41, 3), dtype=numpy.uint8)
    noise[8:20, 10:30] = numpy.asarray(scene(20, 12))
    source = Image.fromarray(noise)
    save_ppm(RESIZE / "source.ppm", source)
    filters = {"box": Image.BOX, "bilinear": Image.BILINEAR, "bicubic": Image.BICUBIC, "lanczos": Image.LANCZOS}
    for name, filter in filters.items():
        for width, height in [(13, 7), (41, 11), (17, 29), (64, 50), (5, 60), (1, 1), (40, 28)]:
            save_ppm(RESIZE / f"{name}_{width}x{height}.ppm", source.resize((width, height), filter))


if __name__ == "__main__":
    IMAGES.mkdir(parents=True, exist_ok=True)
    RESIZE.mkdir(parents=True, exist_ok=True)
    make_images()
    make_resized()
