"""Makes tests/goldens/attentions.safetensors with transformers, for tests/service/family_parity_test.

python tests/reference/attention_goldens.py

Of the small models of tests/goldens/families.json, over the first tokens of their prompts: "CASE.mean" is the mean of each
layer's attention over its heads [layers, T, T], and "CASE.head" the last head of the last layer [T, T].
"""

import json

import numpy as np
import torch
import transformers as hf
from safetensors.numpy import save_file

from family_goldens import GOLDENS, prompt, reload, weight

TOKENS = 10

if __name__ == "__main__":
    torch.set_num_threads(1)
    hf.logging.set_verbosity_error()
    arrays = {}
    for name, made in json.loads((GOLDENS / "families.json").read_text()).items():
        model = reload(made["config"], {key: weight(key, tensor) for key, tensor in made["tensors"].items()})
        with torch.no_grad():
            attentions = model(prompt(made["config"]["vocab_size"], 0, TOKENS)[None], output_attentions=True).attentions
        layers = torch.stack([layer[0] for layer in attentions])  # [layers, H, T, T]
        arrays[f"{name}.mean"] = layers.mean(1).numpy()
        arrays[f"{name}.head"] = layers[-1, -1].numpy()
        print(f"{name:18} {tuple(layers.shape)}, largest {layers.max():.3f} beside the first row {layers[:, :, 1:].max():.3f}")
    save_file({key: np.ascontiguousarray(value) for key, value in arrays.items()}, GOLDENS / "attentions.safetensors")
