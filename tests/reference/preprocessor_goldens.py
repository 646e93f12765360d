"""Makes tests/goldens/preprocessor.json and preprocessor.safetensors, for tests/vision/preprocessor_test.

python tests/reference/preprocessor_goldens.py

Needs transformers 5.17.0, Pillow 13, torch 2.11 and torchvision 0.26. The 20 pictures are computed by a formula on both
sides. Each case is the config of a processor, run over all of them by the backend that it names; nanoVLM, which is no part of
transformers, is written out here with torchvision as its repository uses it.
Kept of each tile are the levels before rescaling and normalisation on a grid of GRID x GRID pixels, the mean of all its
levels, and some finished values; of each picture its number of tiles, their size and their grid.
"""

import json
import math
from pathlib import Path

import numpy as np
import torch
import transformers as hf
from PIL import Image
from safetensors.numpy import save_file
from torchvision.transforms import functional as tv

GOLDENS = Path(__file__).resolve().parents[1] / "goldens"
GRID, FINISHED = 6, 2

SIZES = [(1, 1), (1, 300), (300, 1), (2, 3), (17, 1000), (1000, 17), (224, 224), (225, 223), (97, 89), (336, 336), (384, 384),
         (640, 480), (480, 640), (513, 511), (1365, 768), (401, 1600), (3000, 200), (200, 3000), (1023, 1025), (1283, 720)]


def picture(width, height):
    """Blocks, saw teeth and noise. Integers only, so that both sides make the same."""
    x, y, c = np.meshgrid(np.arange(width), np.arange(height), np.arange(3), indexing="xy")
    x, y, c = (a.astype(np.uint32) for a in (x, y, c))
    block = (x * 4 // width + (y * 4 // height) * 3 + c * 5) * 37 % 256
    teeth = (x * 7 * (c + 1) + y * 11 + c * 40) % 256
    noise = (x * np.uint32(73856093)) ^ (y * np.uint32(19349663)) ^ (c * np.uint32(83492791))
    noise = ((noise ^ (noise >> 13)) * np.uint32(0x5BD1E995)) >> 24
    flat = (x // 61 + y // 47) % 2 * 255
    kind = (x // 32 + y // 48) % 4
    value = np.select([kind == 0, kind == 1, kind == 2], [(block + teeth) // 2, noise, flat], block)
    return Image.fromarray(value.astype(np.uint8))


CLIP = dict(image_processor_type="CLIPImageProcessor", crop_size=dict(height=224, width=224), do_center_crop=True, do_convert_rgb=True,
            do_normalize=True, do_rescale=True, do_resize=True, image_mean=[0.48145466, 0.4578275, 0.40821073],
            image_std=[0.26862954, 0.26130258, 0.27577711], resample=3, rescale_factor=0.00392156862745098,
            size=dict(shortest_edge=224))
SIGLIP = dict(image_processor_type="SiglipImageProcessor", do_normalize=True, do_rescale=True, do_resize=True, image_mean=[0.5] * 3,
              image_std=[0.5] * 3, resample=3, rescale_factor=0.00392156862745098, size=dict(height=224, width=224))
GEMMA3 = dict(image_processor_type="Gemma3ImageProcessor", image_seq_length=256, resample=2, size=dict(height=168, width=168),
              image_mean=[0.5] * 3, image_std=[0.5] * 3, do_pan_and_scan=None, pan_and_scan_max_num_crops=None)
SPLIT = dict(image_processor_type="Idefics3ImageProcessor", do_convert_rgb=True, do_image_splitting=True, do_normalize=True, do_pad=True,
             do_rescale=True, do_resize=True, image_mean=[0.5] * 3, image_std=[0.5] * 3, max_image_size=dict(longest_edge=96), resample=1,
             size=dict(longest_edge=384), processor_class="Idefics3Processor")
SCAN = dict(do_pan_and_scan=True, pan_and_scan_min_crop_size=64, pan_and_scan_max_num_crops=4, pan_and_scan_min_ratio_to_activate=1.2)

# Name: the config as a folder holds it. The torchvision backend is the one that 5.17.0 takes for these classes, but for
# the last two; Pillow's is run as well.
CASES = {
    "clip": CLIP,
    # As transformers 4.10 wrote it: openai/clip-vit-base-patch32.
    "clip.first": dict(crop_size=224, do_center_crop=True, do_normalize=True, do_resize=True, feature_extractor_type="CLIPFeatureExtractor",
                       image_mean=CLIP["image_mean"], image_std=CLIP["image_std"], resample=3, size=224),
    "clip.frame": CLIP | dict(size=dict(shortest_edge=151), crop_size=dict(height=224, width=200)),
    "clip.bounded": CLIP | dict(size=dict(shortest_edge=160, longest_edge=333), do_center_crop=False, image_processor_type="CLIPImageProcessorFast"),
    "clip.within": CLIP | dict(size=dict(max_height=300, max_width=260), crop_size=[112, 80]),
    "llava": CLIP | dict(image_processor_type="CLIPImageProcessor", crop_size=dict(height=336, width=336), size=dict(shortest_edge=336)),
    "llava.square": CLIP | dict(image_processor_type="LlavaImageProcessor", do_pad=True),
    "siglip": SIGLIP,
    "siglip.raw": SIGLIP | dict(do_normalize=False, size=[112, 80], rescale_factor=0.0078125),
    "siglip.levels": SIGLIP | dict(do_rescale=False, image_mean=[127.0, 120.0, 99.5], image_std=[128.0, 64.0, 50.0]),
    "paligemma": SIGLIP | dict(image_seq_length=256, do_convert_rgb=None, image_processor_type="SiglipImageProcessorFast"),
    "vit": dict(image_processor_type="ViTImageProcessor", do_normalize=True, do_resize=True, image_mean=[0.5] * 3, image_std=[0.5] * 3,
                resample=2, size=224),
    "blip": dict(image_processor_type="BlipImageProcessor", do_normalize=True, do_resize=True, size=dict(height=384, width=384)),
    "gemma3": GEMMA3,
    "gemma3.scan": GEMMA3 | SCAN,
    "idefics3": SPLIT,
    "smolvlm": SPLIT | dict(image_processor_type="SmolVLMImageProcessor", max_image_size=dict(longest_edge=128), video_sampling=dict(fps=1)),
    "smolvlm.whole": SPLIT | dict(image_processor_type="SmolVLMImageProcessorFast", do_image_splitting=False, do_pad=False),
}
NANOVLM = {
    "nanovlm.first": dict(vit_img_size=224),
    "nanovlm.tiles": dict(vit_img_size=128, max_img_size=512, vlm_extra_tokens=dict(image_token="<|image|>")),
    "nanovlm": dict(vit_img_size=128, max_img_size=512, vlm_extra_tokens=dict(global_image_token="<|global_image|>")),
    "nanovlm.up": dict(vit_img_size=96, max_img_size=384, resize_to_max_side_len=True, vlm_extra_tokens=dict(global_image_token="<g>")),
}


def nanovlm(config, image):
    """Levels [T, 3, H, W], rows, columns; after data/processors.py of each age."""
    side, largest = config["vit_img_size"], config.get("max_img_size")
    if largest is None:
        return tv.to_tensor(tv.resize(image, (side, side)))[None] * 255, 0, 0
    longer, shorter = max(image.size), min(image.size)
    longer_to = largest if config.get("resize_to_max_side_len") else min(largest, math.ceil(longer / side) * side)
    shorter_to = max(side, math.ceil(shorter * (longer_to / longer) / side) * side)
    height, width = (shorter_to, longer_to) if image.width >= image.height else (longer_to, shorter_to)
    pixels = tv.to_tensor(tv.resize(image, [height, width], tv.InterpolationMode.BICUBIC))
    rows, columns = height // side, width // side
    if rows * columns == 1:
        return pixels[None] * 255, 0, 0
    tiles = [pixels[:, r * side:(r + 1) * side, c * side:(c + 1) * side] for r in range(rows) for c in range(columns)]
    if "global_image_token" in config["vlm_extra_tokens"]:
        tiles.insert(0, tv.resize(pixels[None], [side, side])[0])
    return torch.stack(tiles) * 255, rows, columns


def processor_of(config, backend):
    name = config.get("image_processor_type", "CLIPImageProcessor").removesuffix("Fast")
    members = {key: value for key, value in config.items() if key not in ("image_processor_type", "feature_extractor_type", "video_sampling")}
    return getattr(hf, name + ("Pil" if backend == "pil" else ""))(**members)


def run(processor, image, **options):
    """[T, 3, H, W], rows, columns."""
    split = hasattr(processor, "do_image_splitting")
    if split:
        options["return_row_col_info"] = True
    result = processor(image, return_tensors="pt", **options)
    pixels = result["pixel_values"].float()
    if split:
        assert not processor.do_pad or (result["pixel_attention_mask"] == 1).all()
        return pixels[0], int(result["rows"][0][0]), int(result["cols"][0][0])
    crops = int(result["num_crops"][0]) if "num_crops" in result else 0
    return pixels, *(sorted([crops, min(crops, 1)], reverse=image.width < image.height))


def both(case, processor, image):
    """The levels, and the finished pixels; None where a side would have 0 pixels, on which both backends fail."""
    if case == "clip.within" and image.width > 260 * image.height:
        return None
    return run(processor, image, do_rescale=False, do_normalize=False), run(processor, image)[0]


def sampled(pixels, count):
    height, width = pixels.shape[-2:]
    rows = [i * (height - 1) // (count - 1) for i in range(count)]
    columns = [i * (width - 1) // (count - 1) for i in range(count)]
    return pixels[:, :, rows][:, :, :, columns]


def main():
    hf.utils.logging.set_verbosity_error()
    pictures = [picture(*size) for size in SIZES]
    print("checksum of the pictures", sum(int(np.asarray(each, np.uint64).sum()) for each in pictures))
    cases, tensors = {}, {}

    def add(name, config, backend, outputs, saved=None):
        cases[name] = dict(config=config, backend=backend, pictures=[])
        if saved is not None:
            cases[name]["saved"] = saved
        levels, finished, means = [], [], []
        for output in outputs:
            if output is None:
                cases[name]["pictures"].append(None)
                continue
            (raw, rows, columns), done = output
            cases[name]["pictures"].append([raw.shape[0], raw.shape[2], raw.shape[3], rows, columns])
            levels.append(sampled(raw, GRID).round().to(torch.uint8))
            finished.append(sampled(done, FINISHED))
            means.append(raw.double().mean((2, 3)))
        tensors[name + ".levels"] = torch.cat(levels).numpy()
        tensors[name + ".finished"] = torch.cat(finished).numpy()
        tensors[name + ".means"] = torch.cat(means).float().numpy()

    for case, config in CASES.items():
        pillow = "idefics3" in case or "smolvlm" in case
        for backend in ["pil"] if pillow else ["torchvision", "pil"]:
            processor = processor_of(config, backend)
            outputs = [both(case, processor, image) for image in pictures]
            add(f"{case}.{backend}", config, backend, outputs, json.loads(processor.to_json_string()))
            print(case, backend, flush=True)
    for case, config in NANOVLM.items():
        outputs = [nanovlm(config, image) for image in pictures]
        add(case, config, "pil", [(each, each[0] / 255) for each in outputs])
    text = ",\n".join(f"{json.dumps(name)}: {json.dumps(case)}" for name, case in cases.items())
    (GOLDENS / "preprocessor.json").write_text(f'{{"grid": {GRID}, "finished": {FINISHED}, "sizes": {json.dumps(SIZES)},\n"cases": {{\n{text}\n}}}}\n')
    save_file(tensors, GOLDENS / "preprocessor.safetensors")


if __name__ == "__main__":
    main()
