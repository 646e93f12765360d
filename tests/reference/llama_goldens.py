"""Makes tests/goldens/llama_small.safetensors and smollm2.safetensors with transformers, for tests/language/llama_test.

python tests/reference/llama_goldens.py
"""

from pathlib import Path

import numpy as np
import torch
from safetensors.numpy import save_file
from transformers import AutoModelForCausalLM, AutoTokenizer, LlamaConfig, LlamaForCausalLM

import formula_weights

ROOT = Path(__file__).resolve().parents[2]
GOLDENS = ROOT / "tests" / "goldens"
SMOLLM2 = ROOT / "models" / "smollm2-135m-instruct" / "SmolLM2-135M-Instruct.Q4_1.gguf"

# The same table stands in tests/language/llama_test.cc.
SMALL = {
    "grouped": dict(hidden_size=64, num_hidden_layers=3, num_attention_heads=4, num_key_value_heads=2, intermediate_size=96,
                    vocab_size=199, max_position_embeddings=128, rope_theta=10000.0, rms_norm_eps=1e-5, tie_word_embeddings=False),
    "tied": dict(hidden_size=48, num_hidden_layers=2, num_attention_heads=6, num_key_value_heads=1, head_dim=16, intermediate_size=160,
                 vocab_size=131, max_position_embeddings=64, rope_theta=500000.0, rms_norm_eps=1e-6, tie_word_embeddings=True),
}
LORA_MODULES = ["model.layers.0.self_attn.q_proj", "model.layers.1.self_attn.v_proj", "model.layers.1.mlp.down_proj"]
LORA_RANK, LORA_SCALE = 4, 0.5
TOKENS = 23

PROMPTS = [
    "The capital of France is",
    "Once upon a time, in a small village by the sea, there lived",
    "def fibonacci(n):\n    ",
    "Water boils at 100 degrees",
    "The three primary colours are red,",
    "Dear Sir or Madam,\n\nI am writing to",
    "A recipe for bread: take 500 g of flour,",
    "In 1969, the first human being",
    "Photosynthesis is the process by which",
    "<|im_start|>user\nWhat do bees make?<|im_end|>\n<|im_start|>assistant\n",
]
GREEDY_TOKENS = 64
LOGIT_STEP = 61  # every 61st of the vocabulary is kept


def small(name: str, options: dict) -> dict:
    torch.manual_seed(0)
    options = dict(options)
    theta = options.pop("rope_theta")
    config = LlamaConfig(**options, rope_parameters={"rope_type": "default", "rope_theta": theta}, attn_implementation="eager")
    model = LlamaForCausalLM(config).float().eval()
    state = {key: torch.from_numpy(formula_weights.weight(key, tuple(value.shape))) for key, value in model.state_dict().items()
             if not (options["tie_word_embeddings"] and key == "lm_head.weight")}
    model.load_state_dict(state, strict=not options["tie_word_embeddings"])
    for parameter in model.parameters():
        parameter.requires_grad_(False)

    tokens = torch.arange(TOKENS) * 37 % options["vocab_size"]
    with torch.no_grad():
        logits = model(tokens[None]).logits[0]

    # The same forward with LoRA, and the gradients of its next-token loss.
    lora = {}
    for module_name in LORA_MODULES:
        module = model.get_submodule(module_name)
        a = torch.from_numpy(formula_weights.weight(module_name + ".a", (LORA_RANK, module.in_features))).requires_grad_()
        b = torch.from_numpy(formula_weights.weight(module_name + ".b", (module.out_features, LORA_RANK))).requires_grad_()
        lora[module_name] = (a, b)
        module.register_forward_hook(lambda _, inputs, output, a=a, b=b: output + LORA_SCALE * (inputs[0] @ a.T) @ b.T)
    embeddings = model.get_input_embeddings()(tokens).detach().requires_grad_()
    adapted = model(inputs_embeds=embeddings[None]).logits[0]
    loss = torch.nn.functional.cross_entropy(adapted[:-1], tokens[1:])
    loss.backward()
    out = {f"{name}.logits": logits, f"{name}.adapted_logits": adapted.detach(), f"{name}.loss": loss.detach()[None],
           f"{name}.embeddings.grad": embeddings.grad}
    for module_name, (a, b) in lora.items():
        out[f"{name}.{module_name}.a.grad"] = a.grad
        out[f"{name}.{module_name}.b.grad"] = b.grad
    return {key: value.numpy() for key, value in out.items()}


def smollm2() -> dict:
    tokenizer = AutoTokenizer.from_pretrained(SMOLLM2.parent, gguf_file=SMOLLM2.name)
    model = AutoModelForCausalLM.from_pretrained(SMOLLM2.parent, gguf_file=SMOLLM2.name, dtype=torch.float32).eval()
    out = {}
    for i, prompt in enumerate(PROMPTS):
        ids = tokenizer(prompt, return_tensors="pt", add_special_tokens=False).input_ids
        with torch.no_grad():
            generated = model.generate(ids, attention_mask=torch.ones_like(ids), do_sample=False, max_new_tokens=GREEDY_TOKENS,
                                       repetition_penalty=1.0, eos_token_id=2, pad_token_id=2)[0, ids.shape[1]:]
            logits = model(ids).logits[0]
        generated = generated[generated != 2]
        out[f"{i}.prompt"] = ids[0].numpy()
        out[f"{i}.greedy"] = generated.numpy()
        out[f"{i}.logits"] = logits[:, ::LOGIT_STEP][[0, -1]].contiguous().numpy()  # of the first and the last position
        print(repr(prompt), "->", repr(tokenizer.decode(generated)))
    return out


if __name__ == "__main__":
    torch.set_num_threads(2)
    save_file({k: np.ascontiguousarray(v) for name, options in SMALL.items() for k, v in small(name, options).items()},
              GOLDENS / "llama_small.safetensors")
    save_file(smollm2(), GOLDENS / "smollm2.safetensors")
