"""Makes tests/goldens/families.json and families.safetensors with transformers, for tests/service/family_parity_test.

python tests/reference/family_goldens.py

Each case is a small model whose weights both sides compute (formula_weights.py). The configs are written as
save_pretrained of transformers 5 writes them, and again in the spelling of files that transformers 4 left on hubs, with
the older tensor names where there are any; both are loaded here and must give the same logits.
"""

import json
import tempfile
from pathlib import Path

import numpy as np
import torch
import transformers as hf
from safetensors.numpy import save_file

import formula_weights

ROOT = Path(__file__).resolve().parents[2]
GOLDENS = ROOT / "tests" / "goldens"
TOKENS, GREEDY, BEAMS, BEAM_TOKENS = 24, 32, 4, 12
LENGTHS = [1, 2, 3, 5, 8, 13, 17, 21]  # of the ragged batch

LLAMA3_ROPE = dict(rope_type="llama3", rope_theta=10000.0, factor=4.0, low_freq_factor=1.0, high_freq_factor=4.0,
                   original_max_position_embeddings=16)


def shape(width, layers, heads, key_heads, mlp, vocabulary, **more):
    return dict(hidden_size=width, num_hidden_layers=layers, num_attention_heads=heads, num_key_value_heads=key_heads,
                intermediate_size=mlp, vocab_size=vocabulary, max_position_embeddings=96, eos_token_id=7, bos_token_id=1,
                pad_token_id=0, **more)


CASES = {
    "llama.grouped": (hf.LlamaConfig, shape(64, 3, 4, 2, 96, 151, tie_word_embeddings=False, rms_norm_eps=1e-5)),
    "llama.scaled": (hf.LlamaConfig, shape(48, 2, 6, 1, 80, 131, head_dim=16, tie_word_embeddings=True, attention_bias=True,
                                           mlp_bias=True, rope_parameters=dict(LLAMA3_ROPE))),
    "llama.linear": (hf.LlamaConfig, shape(40, 2, 5, 5, 64, 97, rope_parameters=dict(rope_type="linear", factor=2.5, rope_theta=500.0))),
    "mistral.window": (hf.MistralConfig, shape(48, 3, 6, 2, 96, 131, sliding_window=6, head_dim=12)),
    "mistral.full": (hf.MistralConfig, shape(32, 2, 4, 4, 64, 97, sliding_window=None, tie_word_embeddings=True)),
    "qwen2.tied": (hf.Qwen2Config, shape(56, 3, 7, 1, 96, 151, tie_word_embeddings=True, rope_parameters=dict(rope_type="default", rope_theta=1e6))),
    "qwen2.window": (hf.Qwen2Config, shape(48, 3, 4, 2, 80, 131, use_sliding_window=True, sliding_window=5, max_window_layers=1)),
    "qwen3.wide_heads": (hf.Qwen3Config, shape(40, 2, 5, 1, 96, 151, head_dim=24, tie_word_embeddings=True)),
    "qwen3.untied": (hf.Qwen3Config, shape(64, 3, 4, 2, 96, 131, head_dim=16, attention_bias=True)),
    "gemma.tied": (hf.GemmaConfig, shape(48, 3, 3, 1, 96, 151, head_dim=24)),
    "gemma.grouped": (hf.GemmaConfig, shape(40, 2, 4, 2, 64, 97, head_dim=10, tie_word_embeddings=False)),
    "gemma2.capped": (hf.Gemma2Config, shape(48, 4, 6, 3, 96, 151, head_dim=12, sliding_window=7, query_pre_attn_scalar=20,
                                             attn_logit_softcapping=5.0, final_logit_softcapping=4.0)),
    "gemma2.plain": (hf.Gemma2Config, shape(32, 3, 4, 1, 64, 97, head_dim=16, sliding_window=64, attn_logit_softcapping=None,
                                            final_logit_softcapping=None, tie_word_embeddings=False)),
    "gemma3.pattern": (hf.Gemma3TextConfig, shape(48, 7, 4, 1, 96, 151, head_dim=16, sliding_window=6, query_pre_attn_scalar=24)),
    "gemma3.scaled": (hf.Gemma3TextConfig, shape(40, 3, 5, 5, 64, 97, head_dim=8, sliding_window=9, tie_word_embeddings=False,
                                                 layer_types=["sliding_attention", "full_attention", "sliding_attention"],
                                                 rope_parameters=dict(full_attention=dict(rope_type="linear", factor=4.0, rope_theta=1e6),
                                                                      sliding_attention=dict(rope_type="default", rope_theta=5e3)))),
    "gpt2.tied": (hf.GPT2Config, dict(n_embd=48, n_layer=3, n_head=6, vocab_size=151, n_positions=96, eos_token_id=7, bos_token_id=7)),
    "gpt2.scaled": (hf.GPT2Config, dict(n_embd=40, n_layer=2, n_head=5, n_inner=72, vocab_size=97, n_positions=96, eos_token_id=7,
                                        bos_token_id=7, tie_word_embeddings=False, scale_attn_by_inverse_layer_idx=True)),
    "bloom.power": (hf.BloomConfig, dict(hidden_size=64, n_layer=3, n_head=8, vocab_size=151, eos_token_id=7, bos_token_id=1, pad_token_id=0)),
    "bloom.odd": (hf.BloomConfig, dict(hidden_size=48, n_layer=2, n_head=6, vocab_size=97, eos_token_id=7, bos_token_id=1, pad_token_id=0,
                                       apply_residual_connection_post_layernorm=True, tie_word_embeddings=False)),
}


def prompt(vocabulary: int, start: int, length: int) -> torch.Tensor:
    return (torch.arange(start, start + length) * 37 + 11) % vocabulary


def centre(name: str) -> float:
    """Biases, and the norms of Gemma, to whose weights 1 is added, lie around 0; other vectors around 1."""
    return 0.0 if name.endswith(".bias") else 1.0


def weight(name: str, tensor: dict) -> np.ndarray:
    values = formula_weights.weight(name, tuple(tensor["shape"]))
    return values - np.float32(1.0 - tensor["centre"]) if len(tensor["shape"]) == 1 else values * np.float32(tensor["scale"])


def legacy_config(config: dict) -> dict:
    """The same in the spelling of transformers 4."""
    old = {key: value for key, value in config.items() if key not in ("rope_parameters", "layer_types", "dtype", "transformers_version")}
    old["torch_dtype"] = "float32"
    old["transformers_version"] = "4.40.0"
    rope = config.get("rope_parameters")
    if rope is None:
        return old
    if "full_attention" in rope:  # Gemma 3
        old["rope_theta"] = rope["full_attention"]["rope_theta"]
        old["rope_local_base_freq"] = rope["sliding_attention"]["rope_theta"]
        full = {key: value for key, value in rope["full_attention"].items() if key != "rope_theta"}
        types = config["layer_types"]
        pattern = types.index("full_attention") + 1 if "full_attention" in types else len(types) + 1
        old["sliding_window_pattern"] = pattern
    else:
        old["rope_theta"] = rope["rope_theta"]
        full = {key: value for key, value in rope.items() if key != "rope_theta"}
    old["rope_scaling"] = None if full["rope_type"] == "default" else full
    if full["rope_type"] == "linear" and config["model_type"] == "llama":  # the oldest spelling
        old["rope_scaling"] = {"type": "linear", "factor": full["factor"]}
    return old


def legacy_tensors(name: str, tensors: dict, config: dict) -> dict:
    """Names that hub files have -> {"from": name here} or {"zeros": shape} for what the model has no use for."""
    family = name.split(".")[0]
    old = {}
    for key in tensors:
        old[key.removeprefix("transformer.") if family in ("gpt2", "bloom") and key != "lm_head.weight" else key] = {"from": key}
    if family == "gpt2":
        for i in range(config["n_layer"]):
            old[f"h.{i}.attn.bias"] = {"zeros": [1, 1, config["n_positions"], config["n_positions"]]}
            old[f"h.{i}.attn.masked_bias"] = {"zeros": [1]}
    if family == "llama":
        for i in range(config["num_hidden_layers"]):
            old[f"model.layers.{i}.self_attn.rotary_emb.inv_freq"] = {"zeros": [4]}
    return old


def reload(config: dict, state: dict) -> torch.nn.Module:
    """As from_pretrained loads a folder."""
    with tempfile.TemporaryDirectory() as folder:
        (Path(folder) / "config.json").write_text(json.dumps(config))
        save_file({key: np.ascontiguousarray(value) for key, value in state.items()}, Path(folder) / "model.safetensors", {"format": "pt"})
        return hf.AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32, attn_implementation="eager").eval()


def make(name: str) -> tuple[dict, dict]:
    config_class, options = CASES[name]
    model = hf.AutoModelForCausalLM.from_config(config_class(**options), attn_implementation="eager").float().eval()
    with tempfile.TemporaryDirectory() as folder:
        model.save_pretrained(folder)
        config = json.loads((Path(folder) / "config.json").read_text())
        from safetensors import safe_open
        with safe_open(Path(folder) / "model.safetensors", "np") as file:
            shapes = {key: file.get_slice(key).get_shape() for key in file.keys()}
    gemma, tied = name.startswith("gemma"), "lm_head.weight" not in shapes
    tensors = {key: {"shape": list(s), "centre": 0.0 if gemma and key.endswith("norm.weight") else centre(key),
                     "scale": 0.25 if tied and ("embed" in key or "wte" in key) else 1.0}  # else a token predicts itself
               for key, s in shapes.items()}
    state = {key: weight(key, tensor) for key, tensor in tensors.items()}

    model = reload(config, state)
    vocabulary = config["vocab_size"]
    tokens = prompt(vocabulary, 0, TOKENS)
    out = {}
    with torch.no_grad():
        out["logits"] = model(tokens[None]).logits[0]
        out["batch"] = torch.stack([model(prompt(vocabulary, 3 + n, n)[None]).logits[0, -1] for n in LENGTHS])
        start, margin = 0, 0.0
        while margin < 2e-3:  # equal choices must not hang on the last bits
            ids = prompt(vocabulary, 40 + start, 9)[None]
            greedy = model.generate(ids, do_sample=False, max_new_tokens=GREEDY, eos_token_id=None, pad_token_id=0)[0]
            best = model(greedy[None]).logits[0, 8:-1].topk(2).values
            margin, start = (best[:, 0] - best[:, 1]).min().item(), start + 1
        beams = model.generate(ids, num_beams=BEAMS, num_return_sequences=BEAMS, do_sample=False, max_new_tokens=BEAM_TOKENS,
                               eos_token_id=7, pad_token_id=0, return_dict_in_generate=True, output_scores=True)
        old_config = legacy_config(config)
        old_tensors = legacy_tensors(name, tensors, config)
        old_state = {key: state[t["from"]] if "from" in t else np.zeros(t["zeros"], np.float32) for key, t in old_tensors.items()}
        old = reload(old_config, old_state)(tokens[None]).logits[0]
    assert (old - out["logits"]).abs().max() < 1e-6, (name, (old - out["logits"]).abs().max())
    out["prompt"] = ids[0]
    out["greedy"] = greedy[9:]
    out["beam.sequences"] = beams.sequences[:, 9:]
    out["beam.scores"] = beams.sequences_scores
    print(f"{name:18} logits {out['logits'].std():.2f} around {out['logits'].mean():.2f}, margin {margin:.4f}, greedy {out['greedy'][:8].tolist()}")
    return ({"config": config, "legacy_config": old_config, "tensors": tensors, "legacy_tensors": old_tensors},
            {f"{name}.{key}": value.numpy() for key, value in out.items()})


if __name__ == "__main__":
    torch.set_num_threads(1)
    hf.logging.set_verbosity_error()
    cases, arrays = {}, {}
    for case in CASES:
        torch.manual_seed(0)
        cases[case], made = make(case)
        arrays.update(made)
    (GOLDENS / "families.json").write_text(json.dumps(cases, indent=None, separators=(",", ":"), sort_keys=True) + "\n")
    save_file({k: np.ascontiguousarray(v) for k, v in arrays.items()}, GOLDENS / "families.safetensors")
