"""Makes tests/goldens/vision_towers.json and .safetensors with transformers: hidden states and pooled vectors of vision
towers for tests/vision/vision_tower_test, and vectors of texts and pictures for tests/service/joint_embedder_test.

python tests/reference/vision_tower_goldens.py
"""

import json
import tempfile
from pathlib import Path

import numpy as np
import torch
import transformers as hf
from safetensors import safe_open
from safetensors.numpy import save_file
from transformers.models.idefics3.modeling_idefics3 import Idefics3VisionTransformer

from vision_language_goldens import GOLDENS, tower, uniform, weight

TOWERS = {
    "clip.wide": (hf.CLIPVisionModel, hf.CLIPVisionConfig(**tower(36, 3, 3, 60, 16, 4))),
    "clip.gelu": (hf.CLIPVisionModel, hf.CLIPVisionConfig(**tower(40, 2, 5, 48, 22, 7, hidden_act="gelu"))),
    "siglip.pooled": (hf.SiglipVisionModel, hf.SiglipVisionConfig(**tower(36, 3, 3, 60, 16, 4))),
    "siglip.bare": (hf.SiglipVisionModel, hf.SiglipVisionConfig(**tower(40, 2, 5, 48, 21, 7, vision_use_head=False))),
    "vit.pooled": (hf.ViTModel, hf.ViTConfig(**tower(36, 3, 3, 60, 16, 4))),
    "vit.no_bias": (hf.ViTModel, hf.ViTConfig(**tower(40, 2, 5, 48, 20, 5, qkv_bias=False))),
    "idefics3.masked": (Idefics3VisionTransformer, hf.Idefics3Config(vision_config=tower(36, 3, 3, 60, 24, 4)).vision_config),
    "idefics3.large": (Idefics3VisionTransformer, hf.Idefics3Config(vision_config=tower(40, 2, 5, 48, 35, 5)).vision_config),
}
# Height and width of what Idefics3's tower is given, and of each picture in it.
PICTURES = {"idefics3.masked": ([24, 16], [[24, 16], [12, 16], [20, 9]]), "idefics3.large": ([30, 45], [[30, 45], [7, 41]])}

TEXT = dict(hidden_size=48, num_hidden_layers=3, num_attention_heads=3, intermediate_size=80, vocab_size=151, max_position_embeddings=20,
            bos_token_id=148, eos_token_id=149, pad_token_id=149)
JOINT = {
    "joint.clip": hf.CLIPConfig(text_config=dict(TEXT), vision_config=tower(36, 2, 3, 60, 16, 4), projection_dim=28),
    # The end token of the first configs, which is none.
    "joint.clip_of_old": hf.CLIPConfig(text_config={**TEXT, "hidden_size": 40, "num_attention_heads": 5, "eos_token_id": 2, "hidden_act": "gelu"},
                                       vision_config=tower(40, 3, 5, 48, 20, 5, hidden_act="gelu"), projection_dim=33),
    "joint.siglip": hf.SiglipConfig(text_config=dict(TEXT), vision_config=tower(48, 2, 3, 60, 16, 4)),
    "joint.siglip_odd": hf.SiglipConfig(text_config={**TEXT, "hidden_size": 40, "num_attention_heads": 5, "projection_size": 35},
                                        vision_config=tower(35, 3, 5, 48, 20, 5)),
}
LENGTHS = [2, 5, 5, 11, 20]


def texts(siglip: bool) -> list[list[int]]:
    """Begin token, words, end token; SigLIP's are filled up with the end token."""
    made = []
    for n in LENGTHS:
        ids = ([] if siglip else [148]) + [(i * 37 + 11 * n) % 140 + 3 for i in range(n - (1 if siglip else 2))] + [149]
        made.append(ids + ([149] * (20 - len(ids)) if siglip else []))
    return made


def saved(model) -> tuple[dict, dict]:
    with tempfile.TemporaryDirectory() as folder:
        model.save_pretrained(folder)
        config = json.loads((Path(folder) / "config.json").read_text())
        with safe_open(Path(folder) / "model.safetensors", "np") as file:
            shapes = {key: file.get_slice(key).get_shape() for key in file.keys()}
    around_zero = (".bias", "in_proj_bias", "class_embedding")
    return config, {key: {"shape": list(s), "centre": 0.0 if key.endswith(around_zero) else 1.0, "scale": 1.0} for key, s in shapes.items()}


def reload(model_class, config: dict, tensors: dict):
    state = {key: np.array(weight(key, tensor), order="C") for key, tensor in tensors.items()}
    with tempfile.TemporaryDirectory() as folder:
        (Path(folder) / "config.json").write_text(json.dumps(config))
        save_file(state, Path(folder) / "model.safetensors", {"format": "pt"})
        return model_class.from_pretrained(folder, dtype=torch.float32, attn_implementation="eager").eval()


def make_tower(name: str) -> tuple[dict, dict]:
    model_class, config_object = TOWERS[name]
    config, tensors = saved(model_class(config_object))
    model = reload(model_class, config, tensors)
    case = {"config": config, "tensors": tensors, "pixels": [2, 3, config["image_size"], config["image_size"]]}
    extra = {}
    if name in PICTURES:
        (height, width), pictures = PICTURES[name]
        patch, case["pixels"], case["pictures"] = config["patch_size"], [len(pictures), 3, height, width], pictures
        mask = torch.zeros(len(pictures), height // patch, width // patch, dtype=torch.bool)
        for i, (h, w) in enumerate(pictures):
            mask[i, :-(-h // patch), :-(-w // patch)] = True
        extra["patch_attention_mask"] = mask
    pixels = torch.from_numpy(uniform("pixels", case["pixels"]))
    out = model(pixels, output_hidden_states=True, **extra)
    made = {"last": out.last_hidden_state}
    if name not in PICTURES:
        made["first_layer"] = out.hidden_states[1]
        if out.pooler_output is not None:
            made["pooled"] = out.pooler_output
    print(f"{name:18} last {made['last'].std():.2f}, {sorted(made)}")
    return case, made


def make_joint(name: str) -> tuple[dict, dict]:
    config_object = JOINT[name]
    siglip = isinstance(config_object, hf.SiglipConfig)
    model_class = hf.SiglipModel if siglip else hf.CLIPModel
    config, tensors = saved(model_class(config_object))
    model = reload(model_class, config, tensors)
    side = config["vision_config"]["image_size"]
    pixels = torch.from_numpy(uniform("pixels", [3, 3, side, side]))
    ids = texts(siglip)
    made = {"texts": torch.cat([model.get_text_features(torch.tensor([text])).pooler_output for text in ids]),
            "pictures": model.get_image_features(pixels).pooler_output}
    made = {key: value / value.norm(dim=-1, keepdim=True) for key, value in made.items()}
    print(f"{name:18} cosines of texts to the first {[f'{x:.2f}' for x in made['texts'] @ made['texts'][0]]}, "
          f"of pictures {[f'{x:.2f}' for x in made['pictures'] @ made['pictures'][0]]}")
    return {"config": config, "tensors": tensors, "pixels": list(pixels.shape), "texts": ids}, made


if __name__ == "__main__":
    torch.set_num_threads(1)
    hf.logging.set_verbosity_error()
    cases, arrays = {}, {}
    with torch.no_grad():
        for name in list(TOWERS) + list(JOINT):
            torch.manual_seed(0)
            cases[name], made = make_tower(name) if name in TOWERS else make_joint(name)
            arrays.update({f"{name}.{key}": np.ascontiguousarray(value.numpy()) for key, value in made.items()})
    (GOLDENS / "vision_towers.json").write_text(json.dumps(cases, indent=None, separators=(",", ":"), sort_keys=True) + "\n")
    save_file(arrays, GOLDENS / "vision_towers.safetensors")
