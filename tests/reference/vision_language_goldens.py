"""Makes tests/goldens/vision_language.json and .safetensors with transformers, and for nanoVLM with nanovlm.py, for
tests/service/vision_language_parity_test.

python tests/reference/vision_language_goldens.py

As family_goldens.py: small models whose weights both sides compute, their configs as save_pretrained writes them and
again in the spelling that hub files have; both are loaded here and must give the same logits. Pixel values too come
from a formula.
"""

import json
import tempfile
from pathlib import Path

import numpy as np
import torch
import transformers as hf
from safetensors import safe_open
from safetensors.numpy import save_file
from transformers.models.smolvlm.processing_smolvlm import get_image_prompt_string

import family_goldens
import formula_weights
import nanovlm

GOLDENS = family_goldens.GOLDENS
GREEDY = 32
IMAGE = "image"


def text(width, layers, heads, key_heads, mlp, vocabulary, **more):
    return dict(hidden_size=width, num_hidden_layers=layers, num_attention_heads=heads, num_key_value_heads=key_heads,
                intermediate_size=mlp, vocab_size=vocabulary, max_position_embeddings=160, eos_token_id=7, bos_token_id=1,
                pad_token_id=0, **more)


def tower(width, layers, heads, mlp, image, patch, **more):
    return dict(hidden_size=width, num_hidden_layers=layers, num_attention_heads=heads, intermediate_size=mlp, image_size=image,
                patch_size=patch, **more)


def without(config: dict, names) -> dict:
    return {key: value for key, value in config.items() if key not in names}


# name -> (config, prompt: numbers of text tokens and tiles, in order)
CASES = {
    "paligemma.one": (hf.PaliGemmaConfig(
        text_config=dict(model_type="gemma", **text(48, 3, 3, 1, 96, 151, head_dim=24)),
        vision_config=dict(model_type="siglip_vision_model", **tower(36, 2, 3, 60, 16, 4, vision_use_head=False)),
        projection_dim=48, image_token_index=150), [IMAGE, 12]),
    "paligemma.two": (hf.PaliGemmaConfig(
        text_config=dict(model_type="gemma2", **text(40, 4, 4, 2, 64, 131, head_dim=10, sliding_window=9, query_pre_attn_scalar=20)),
        vision_config=dict(model_type="siglip_vision_model", **tower(40, 3, 5, 64, 21, 7)),  # with a pooling head, unused
        projection_dim=40, image_token_index=131), [IMAGE, 15]),
    "llava.grouped": (hf.LlavaConfig(
        text_config=dict(model_type="llama", **text(48, 3, 6, 2, 80, 151, rms_norm_eps=1e-5)),
        vision_config=dict(model_type="clip_vision_model", **tower(36, 3, 3, 60, 16, 4)),
        image_token_index=150), [5, IMAGE, 9]),
    "llava.tied": (hf.LlavaConfig(
        text_config=dict(model_type="llama", **text(40, 2, 5, 5, 64, 131, tie_word_embeddings=True)),
        vision_config=dict(model_type="clip_vision_model", **tower(32, 2, 4, 48, 20, 5, hidden_act="gelu")),
        image_token_index=130, vision_feature_layer=-1, vision_feature_select_strategy="full", multimodal_projector_bias=False),
        [3, IMAGE, 4, IMAGE, 6]),
    "smolvlm.split": (hf.SmolVLMConfig(
        text_config=dict(model_type="llama", **text(48, 3, 3, 1, 80, 151, rms_norm_eps=1e-5)),
        vision_config=tower(36, 2, 3, 60, 24, 4), scale_factor=3, image_token_id=150, pad_token_id=0),
        [3, IMAGE, 2, IMAGE, 2, IMAGE, 8]),
    "idefics3.tied": (hf.Idefics3Config(
        text_config=dict(model_type="llama", **text(40, 2, 5, 5, 64, 131, tie_word_embeddings=True)),
        vision_config=tower(32, 3, 4, 48, 20, 5), scale_factor=2, image_token_id=130, pad_token_id=0, tie_word_embeddings=True),
        [4, IMAGE, 3, IMAGE, 6]),
    "gemma3.windows": (hf.Gemma3Config(
        text_config=text(48, 7, 4, 1, 96, 151, head_dim=16, sliding_window=6, query_pre_attn_scalar=24),
        vision_config=tower(36, 2, 3, 60, 24, 4, vision_use_head=False), mm_tokens_per_image=9, image_token_index=150),
        [4, IMAGE, 5, IMAGE, 9]),
    "gemma3.scaled": (hf.Gemma3Config(
        text_config=text(40, 3, 5, 5, 64, 131, head_dim=8, sliding_window=12,
                         layer_types=["sliding_attention", "full_attention", "sliding_attention"],
                         rope_parameters=dict(full_attention=dict(rope_type="linear", factor=4.0, rope_theta=1e6),
                                              sliding_attention=dict(rope_type="default", rope_theta=5e3))),
        vision_config=tower(32, 3, 4, 48, 20, 5, vision_use_head=False), mm_tokens_per_image=4, image_token_index=131), [3, IMAGE, 11]),
    "blip.tied": (hf.BlipConfig(
        text_config=without(text(48, 3, 3, 3, 96, 151, sep_token_id=8), ("num_key_value_heads",)),
        vision_config=tower(36, 2, 3, 60, 16, 4)), [IMAGE, 9]),
    "blip.untied": (hf.BlipConfig(
        text_config=without(text(40, 2, 5, 5, 64, 131, sep_token_id=8, tie_word_embeddings=False), ("num_key_value_heads",)),
        vision_config=tower(32, 3, 4, 48, 20, 5), tie_word_embeddings=False), [IMAGE, 6]),
}

def nano(**changed):
    config = dict(vit_hidden_dim=36, vit_inter_dim=60, vit_patch_size=4, vit_img_size=16, vit_n_heads=3, vit_dropout=0.0, vit_n_blocks=2,
                  vit_ln_eps=1e-6, vit_cls_flag=False, vit_model_type="google/siglip-base-patch16-224", lm_hidden_dim=48,
                  lm_inter_dim=80, lm_rms_eps=1e-5, lm_re_base=100000, lm_max_position_embeddings=160, lm_vocab_size=151, lm_n_heads=3,
                  lm_n_kv_heads=1, lm_dropout=0.0, lm_n_blocks=3, lm_attn_scaling=1.0, lm_use_tokens=False, lm_tie_weights=True,
                  lm_model_type="HuggingFaceTB/SmolLM2-135M", lm_tokenizer="HuggingFaceTB/cosmo2-tokenizer", mp_pixel_shuffle_factor=2,
                  vlm_load_backbone_weights=True, vlm_checkpoint_path="checkpoints")
    return {**config, **changed}


# nanoVLM's config as its first checkpoints have it, and as later ones do.
NANOVLM = {
    "nanovlm.first": (nano(), [IMAGE, 9]),
    "nanovlm.tiles": (nano(vit_hidden_dim=40, vit_n_heads=5, vit_img_size=24, lm_hidden_dim=40, lm_n_heads=5, lm_n_kv_heads=5, lm_n_blocks=2,
                           lm_base_vocab_size=120, extra_token_amount=11, lm_vocab_size=131, lm_tie_weights=False, mp_pixel_shuffle_factor=3,
                           mp_image_token_length=4, max_img_size=48, vlm_extra_tokens={"image_token": "<|image|>", "global_image_token": "<|global_image|>"}),
                      [4, IMAGE, 1, IMAGE, 1, IMAGE, 7]),
}

# Height and width of each tile that belong to its picture, where not all of it does.
PIXEL_MASKS = {"smolvlm.split": [[24, 24], [17, 24], [24, 9]]}


def uniform(name: str, shape: list[int]) -> np.ndarray:
    return (formula_weights.weight(name, (int(np.prod(shape)),)).reshape(shape) - np.float32(1)) * np.float32(4)


def centre(name: str, config: dict) -> float:
    """Of vectors: biases and embeddings lie around 0, and so do norms to whose weights 1 is added; other norms around 1."""
    if name.endswith((".bias", "in_proj_bias", "class_embedding")):
        return 0.0
    gemma = config["model_type"] in ("paligemma", "gemma3")
    if gemma and (("language_model" in name and name.endswith("norm.weight")) or name.endswith("mm_soft_emb_norm.weight")):
        return 0.0
    return 1.0


def weight(name: str, tensor: dict) -> np.ndarray:
    shape = tuple(tensor["shape"])
    values = formula_weights.weight(name, shape or (1,)).reshape(shape)
    return values - np.float32(1.0 - tensor["centre"]) if len(shape) < 2 else values * np.float32(tensor["scale"])


def legacy_config(config: dict) -> dict:
    """The same in the spelling of transformers 4, less what the classes default to."""
    old = without(config, ("dtype", "transformers_version", "vision_config"))
    if config["model_type"] in ("paligemma", "gemma3", "llava"):
        del old["tie_word_embeddings"]
    old["torch_dtype"], old["transformers_version"] = "float32", "4.44.0"
    text_config = without(family_goldens.legacy_config(config["text_config"]), ("use_bidirectional_attention",))
    for key, default in (("attn_logit_softcapping", 50.0), ("final_logit_softcapping", 30.0)):
        if text_config.get(key) == default:
            del text_config[key]
    old["text_config"] = text_config
    vision = config["vision_config"]
    defaults = {"hidden_act": {"clip_vision_model": "quick_gelu"}.get(vision["model_type"], "gelu_pytorch_tanh"),
                "layer_norm_eps": {"clip_vision_model": 1e-5}.get(vision["model_type"], 1e-6), "num_channels": 3}
    old["vision_config"] = {key: value for key, value in vision.items() if defaults.get(key) != value}
    return old


def legacy_tensors(tensors: dict, config: dict) -> dict:
    """Names that hub files have -> {"from": name here} or {"zeros": shape} for what the model has no use for."""
    old = {}
    for name in tensors:
        old[name.replace("vision_tower.", "vision_tower.vision_model.")] = {"from": name}
    if config["model_type"] == "blip":
        old["text_decoder.bert.embeddings.position_ids"] = {"zeros": [1, 160]}
        if config["tie_word_embeddings"]:  # hub files hold what is shared under both names
            old["text_decoder.cls.predictions.decoder.weight"] = {"from": "text_decoder.bert.embeddings.word_embeddings.weight"}
            old["text_decoder.cls.predictions.decoder.bias"] = {"from": "text_decoder.cls.predictions.bias"}
    if config["model_type"] == "llava":
        old["vision_tower.vision_model.embeddings.position_ids"] = {"zeros": [1, 17]}
    return old


def reload(config: dict, state: dict) -> torch.nn.Module:
    """As from_pretrained loads a folder."""
    with tempfile.TemporaryDirectory() as folder:
        (Path(folder) / "config.json").write_text(json.dumps(config))
        save_file({key: np.ascontiguousarray(value) for key, value in state.items()}, Path(folder) / "model.safetensors", {"format": "pt"})
        return hf.AutoModelForImageTextToText.from_pretrained(folder, dtype=torch.float32, attn_implementation="eager").eval()


def tile_tokens(config: dict) -> int:
    vision = config["vision_config"]
    if config["model_type"] == "blip":
        return 0  # pictures are no part of the text
    patches = (vision["image_size"] // vision["patch_size"]) ** 2
    if config["model_type"] == "llava" and config["vision_feature_select_strategy"] == "full":
        return patches + 1
    if config["model_type"] in ("smolvlm", "idefics3"):
        return patches // config["scale_factor"] ** 2
    return config.get("mm_tokens_per_image", patches)


def token_ids(parts: list, image: int, tile: int, vocabulary: int, start: int) -> torch.Tensor:
    ids, next_text = [], start
    for part in parts:
        if part == IMAGE:
            ids += [image] * tile
        else:
            ids += [(i * 37 + 11) % (vocabulary - 1) for i in range(next_text, next_text + part)]
            next_text += part
    return torch.tensor(ids)[None]


def inputs(name: str, config: dict, parts: list, ids: torch.Tensor, image: int, prompt_length: int) -> dict:
    """What the family's processor gives, for a prompt of `prompt_length` tokens and what was generated after it."""
    side, tiles = config["vision_config"]["image_size"], parts.count(IMAGE)
    made = dict(input_ids=ids, attention_mask=torch.ones_like(ids), pixel_values=torch.from_numpy(uniform("pixels", [tiles, 3, side, side])))
    if config["model_type"] == "paligemma":
        made["token_type_ids"] = (torch.arange(ids.shape[1]) >= prompt_length).long()[None]
    if config["model_type"] == "gemma3":
        made["token_type_ids"] = (ids == image).long()
    if config["model_type"] in ("smolvlm", "idefics3"):
        made["pixel_values"] = made["pixel_values"][None]
    if name in PIXEL_MASKS:
        mask = torch.zeros(1, tiles, side, side, dtype=torch.bool)
        for tile, (height, width) in enumerate(PIXEL_MASKS[name]):
            mask[0, tile, :height, :width] = True
        made["pixel_attention_mask"] = mask
    return made


def image_tokens(model, made: dict) -> torch.Tensor:
    if isinstance(model, hf.BlipForConditionalGeneration):
        return model.vision_model(made["pixel_values"]).last_hidden_state
    features = model.get_image_features(**{key: made[key] for key in ("pixel_values", "pixel_attention_mask") if key in made}).pooler_output
    return torch.stack(list(features)) if not isinstance(features, torch.Tensor) else features


def make(name: str) -> tuple[dict, dict]:
    config_object, parts = CASES[name]
    with tempfile.TemporaryDirectory() as folder:
        hf.AutoModelForImageTextToText.from_config(config_object).save_pretrained(folder)
        config = json.loads((Path(folder) / "config.json").read_text())
        with safe_open(Path(folder) / "model.safetensors", "np") as file:
            shapes = {key: file.get_slice(key).get_shape() for key in file.keys()}
    tied = not any("lm_head" in key for key in shapes) and config["model_type"] != "blip"
    tensors = {key: {"shape": list(s), "centre": centre(key, config),
                     "scale": 0.25 if tied and "embed_tokens" in key else 1.0}  # else a token predicts itself
               for key, s in shapes.items()}
    state = {key: weight(key, tensor) for key, tensor in tensors.items()}

    model = reload(config, state)
    vocabulary = config["text_config"]["vocab_size"]
    image = config.get("image_token_id", config.get("image_token_index", -1))
    tile = tile_tokens(config)
    out = {}
    with torch.no_grad():
        start, margin = 0, 0.0
        while margin < 2e-3:  # equal choices must not hang on the last bits
            ids = token_ids(parts, image, tile, vocabulary, start)
            length = ids.shape[1]
            given = inputs(name, config, parts, ids, image, length)
            if config["model_type"] == "blip":  # whose generate() changes the prompt
                whole = ids
                for _ in range(GREEDY):
                    whole = torch.cat([whole, model(**inputs(name, config, parts, whole, image, length)).logits[:, -1:].argmax(-1)], 1)
                greedy = whole[0, length:]
            else:
                greedy = model.generate(**given, do_sample=False, max_new_tokens=GREEDY, eos_token_id=None, pad_token_id=0)[0, length:]
            whole = torch.cat([ids, greedy[None]], 1)
            best = model(**inputs(name, config, parts, whole, image, length)).logits[0, length - 1:-1].topk(2).values
            margin, start = (best[:, 0] - best[:, 1]).min().item(), start + 1
        out["ids"], out["greedy"] = ids[0], greedy
        out["image_tokens"] = image_tokens(model, given)
        logits = model(**given).logits[0]
        out["logits"] = logits[ids[0] != image]  # at the text
        blind = model(**{**given, "pixel_values": -given["pixel_values"]}).logits[0]
        old_config = legacy_config(config)
        old_tensors = legacy_tensors(tensors, config)
        old_state = {key: state[t["from"]] if "from" in t else np.zeros(t["zeros"], np.float32) for key, t in old_tensors.items()}
        old = reload(old_config, old_state)(**given).logits[0]
    assert (old - logits).abs().max() < 1e-6, (name, (old - logits).abs().max())
    seen = (blind - logits).abs()[-1].max()
    assert seen > 0.05, (name, "the picture makes no difference", seen)
    print(f"{name:18} logits {logits.std():.2f} around {logits.mean():.2f}, image tokens {out['image_tokens'].std():.2f}, margin {margin:.4f}, "
          f"other picture {seen:.2f}, greedy {greedy[:8].tolist()}")
    case = {"config": config, "legacy_config": old_config, "tensors": tensors, "legacy_tensors": old_tensors,
            "pixels": list(given["pixel_values"].shape[-4:]), "image_token": image}
    if name in PIXEL_MASKS:
        case["pixel_mask"] = PIXEL_MASKS[name]
    if config["model_type"] == "smolvlm":  # the text of a split picture's place, one token a tile
        case["image_texts"] = [[rows, columns, get_image_prompt_string(rows, columns, 1, "<fake_token_around_image>", "<image>", "<global-img>")]
                               for rows, columns in ((0, 0), (1, 1), (2, 3))]
    return case, {f"{name}.{key}": value.numpy() for key, value in out.items()}


def make_nanovlm(name: str) -> tuple[dict, dict]:
    config, parts = NANOVLM[name]
    tied = config["lm_tie_weights"]
    tensors = {key: {"shape": shape, "centre": 0.0 if key.endswith(".bias") else 1.0, "scale": 0.25 if tied and key == "decoder.head.weight" else 1.0}
               for key, shape in nanovlm.shapes(config).items()}
    state = {key: torch.from_numpy(weight(key, tensor)) for key, tensor in tensors.items()}
    vocabulary, image = config["lm_vocab_size"], config["lm_vocab_size"] - 1
    pixels = torch.from_numpy(uniform("pixels", [parts.count(IMAGE), 3, config["vit_img_size"], config["vit_img_size"]]))
    tiles = nanovlm.image_tokens(config, state, pixels)

    def logits(ids: torch.Tensor, prompt: int, tiles: torch.Tensor) -> torch.Tensor:
        x = nanovlm.embed(config, state, ids)
        x[:prompt][ids[:prompt] == image] = tiles.flatten(0, 1)
        return nanovlm.logits(config, state, x)

    start, margin = 0, 0.0
    while margin < 2e-3:
        ids = prompt = token_ids(parts, image, tiles.shape[1], vocabulary, start)[0]
        margin, start = 1.0, start + 1
        for _ in range(GREEDY):
            best = logits(ids, len(prompt), tiles)[-1].topk(2)
            margin = min(margin, (best.values[0] - best.values[1]).item())
            ids = torch.cat([ids, best.indices[:1]])
    made = logits(prompt, len(prompt), tiles)
    other = nanovlm.image_tokens(config, state, -pixels)
    assert (logits(prompt, len(prompt), other) - made)[-1].abs().max() > 0.05
    print(f"{name:18} logits {made.std():.2f} around {made.mean():.2f}, image tokens {tiles.std():.2f}, margin {margin:.4f}, greedy {ids[len(prompt):][:8].tolist()}")
    # The same with both names of a tied matrix, and with the frequencies that its buffers leave in a file.
    legacy = {key: {"from": key} for key in tensors}
    legacy["decoder.token_embedding.weight"] = {"from": "decoder.head.weight" if tied else "decoder.token_embedding.weight"}
    legacy["decoder.rotary_embd.inv_freq"] = {"zeros": [8]}
    case = {"config": config, "legacy_config": config, "tensors": tensors, "legacy_tensors": legacy, "pixels": list(pixels.shape), "image_token": image}
    out = {"ids": prompt, "greedy": ids[len(prompt):], "image_tokens": tiles, "logits": made[prompt != image]}
    return case, {f"{name}.{key}": value.numpy() for key, value in out.items()}


if __name__ == "__main__":
    torch.set_num_threads(1)
    hf.logging.set_verbosity_error()
    cases, arrays = {}, {}
    for case in CASES:
        torch.manual_seed(0)
        cases[case], made = make(case)
        arrays.update(made)
    for case in NANOVLM:
        with torch.no_grad():
            cases[case], made = make_nanovlm(case)
        arrays.update(made)
    (GOLDENS / "vision_language.json").write_text(json.dumps(cases, indent=None, separators=(",", ":"), sort_keys=True) + "\n")
    save_file({k: np.ascontiguousarray(v) for k, v in arrays.items()}, GOLDENS / "vision_language.safetensors")
