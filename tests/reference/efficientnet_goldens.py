"""Makes tests/goldens/encoder/logits.safetensors: what EfficientNet-Lite0 says of the pictures in that folder.

Needs torch, safetensors, numpy and Pillow, and the weights ('make setup'): python tests/reference/efficientnet_goldens.py
"""

import pathlib

import torch
from PIL import Image
from safetensors.torch import save_file

import efficientnet_lite0 as reference

FOLDER = pathlib.Path(__file__).resolve().parents[1] / "goldens/encoder"

if __name__ == "__main__":
    state = reference.load()
    goldens = {}
    for path in sorted(FOLDER.glob("*.png")):
        with torch.no_grad():
            features = reference.features(state, reference.preprocess(Image.open(path)))
            goldens[f"{path.stem}.logits"] = reference.classify(state, features)[0].contiguous()
            goldens[f"{path.stem}.corner"] = features[0, :, 0, 6].contiguous()  # top right, to tell the axes apart
    save_file(goldens, FOLDER / "logits.safetensors")
