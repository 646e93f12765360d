"""Times Pillow on the workload vision/decode_and_resize of blazon_bench: a JPEG photograph to 224 x 224, bicubic, one thread."""

import io
import pathlib
import statistics
import time

from PIL import Image

PHOTO = (pathlib.Path(__file__).resolve().parents[2] / "assets/photos/temple.jpg").read_bytes()

if __name__ == "__main__":
    times = []
    for _ in range(200):
        start = time.process_time()
        Image.open(io.BytesIO(PHOTO)).convert("RGB").resize((224, 224), Image.Resampling.BICUBIC)
        times.append(time.process_time() - start)
    print(f"Pillow: {1 / statistics.median(times):.0f} images/s")
