#!/usr/bin/env python3
"""Makes the training pictures that no package carries as plain files: emoji as PNG, and wallpapers as small JPEG.

Needed for training the captioner only, not for using it. Before it:
    apt-get install openclipart-png fonts-noto-color-emoji
    apt-get download mate-backgrounds gnome-backgrounds lomiri-wallpapers-16.04 lomiri-wallpapers-20.04 ukui-wallpapers
and Pillow. The emoji are those that assets/captioner/pictures.tsv names by their code points.
"""

import argparse
import pathlib
import subprocess
import tempfile

from PIL import Image, ImageDraw, ImageFont

ROOT = pathlib.Path(__file__).resolve().parent.parent
FONT = "/usr/share/fonts/truetype/noto/NotoColorEmoji.ttf"
FONT_SIZE = 109  # the one size of its bitmaps
# Icons, logos and flat patterns rather than photographs.
NO_PHOTOGRAPHS = ("truchet", "grid-", "symbolic", "adwaita", "pixels-", "Stripes", "Ubuntu-Mate", "Arc-", "Float", "fluent", "licorice")


def extract_emoji(folder):
    folder.mkdir(parents=True, exist_ok=True)
    font = ImageFont.truetype(FONT, FONT_SIZE)
    count = 0
    for line in (ROOT / "assets/captioner/pictures.tsv").read_text().splitlines():
        library, _, rest = line.partition("\t")
        if library != "emoji":
            continue
        name = rest.split("\t")[0]
        picture = Image.new("RGBA", (140, 132), (0, 0, 0, 0))
        ImageDraw.Draw(picture).text((2, 0), chr(int(name.removesuffix(".png"), 16)), font=font, embedded_color=True)
        picture.crop(picture.getbbox()).save(folder / name)
        count += 1
    print(f"{count} emoji in {folder}")


def extract_photos(packages, folder):
    folder.mkdir(parents=True, exist_ok=True)
    count = 0
    with tempfile.TemporaryDirectory() as scratch:
        for package in packages:
            subprocess.run(["dpkg", "-x", package, scratch], check=True)
        for path in sorted(pathlib.Path(scratch, "usr/share").rglob("*")):
            if path.suffix.lower() not in (".jpg", ".png", ".webp") or path.stat().st_size < 100_000 or "icons" in path.parts:
                continue
            if any(part in str(path) for part in NO_PHOTOGRAPHS):
                continue
            picture = Image.open(path).convert("RGB")
            picture.thumbnail((640, 640))
            picture.save(folder / (path.stem + ".jpg"), quality=92)
            count += 1
    print(f"{count} photographs in {folder}")


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("packages", nargs="*", help="the .deb files with wallpapers")
    parser.add_argument("--output", type=pathlib.Path, default=ROOT / "deps/training-pictures")
    options = parser.parse_args()
    extract_emoji(options.output / "emoji")
    if options.packages:
        extract_photos(options.packages, options.output / "photos")


if __name__ == "__main__":
    main()
