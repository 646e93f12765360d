"""A GPT-2 that TensorFlow trained (OpenAI's releases, gpt-2-simple's checkpoint/run1) as a Hugging Face folder.

Such a folder has hparams.json, encoder.json, vocab.bpe, a file `checkpoint` that names the newest state, and of each state
NAME.index and NAME.data-*. Variables are named model/h0/attn/c_attn/w; matrices have a leading axis of 1, and are kept as
[inputs, outputs], which is also how transformers keeps those of GPT-2.
"""

import json
import re

from convert import CheckpointError, tensorflow_bundle

PARTS = {"wte": "wte.weight", "wpe": "wpe.weight", "ln_f/g": "ln_f.weight", "ln_f/b": "ln_f.bias"}
LAYER = re.compile(r"model/h(\d+)/(ln_1|ln_2|attn/c_attn|attn/c_proj|mlp/c_fc|mlp/c_proj)/([gbw])")
OPTIMIZER = re.compile(r"(/(Adam|Adam_1|Momentum|RMSProp|RMSProp_1)|(^|/)beta[12]_power(_\d+)?|^global_step)$")
END_OF_TEXT = "<|endoftext|>"


def _checkpoint(folder):
    """The path of the newest state, without its endings."""
    states = sorted(path.with_name(path.name[: -len(".index")]) for path in folder.glob("*.index"))
    note = folder / "checkpoint"
    if note.is_file():
        named = re.search(r'^model_checkpoint_path:\s*"([^"]*)"', note.read_text(encoding="utf-8", errors="replace"), re.MULTILINE)
        newest = named and named.group(1).replace("\\", "/").rsplit("/", 1)[-1]  # an absolute path, where the run was moved
        for state in states:
            if state.name == newest:
                return state
        raise CheckpointError(f"{note} names the state {newest!r}, and {folder} has {', '.join(s.name for s in states)}")
    if len(states) != 1:
        raise CheckpointError(f"{folder} has the states {', '.join(s.name for s in states)}, and no file 'checkpoint' that names one")
    return states[0]


def _name(variable):
    """As transformers names it; None: not of the model."""
    if variable.startswith("model/") and variable[len("model/") :] in PARTS:
        return "transformer." + PARTS[variable[len("model/") :]]
    layer = LAYER.fullmatch(variable)
    if layer:
        return f"transformer.h.{layer[1]}.{layer[2].replace('/', '.')}.{'bias' if layer[3] == 'b' else 'weight'}"
    if OPTIMIZER.search(variable):
        return None
    raise CheckpointError(f"the checkpoint has a variable {variable!r}, which no GPT-2 has")


def _hparams(folder):
    try:
        hparams = json.loads((folder / "hparams.json").read_text(encoding="utf-8"))
    except ValueError:
        raise CheckpointError(f"{folder / 'hparams.json'} is no JSON") from None
    wanted = ("n_vocab", "n_ctx", "n_embd", "n_head", "n_layer")
    missing = [name for name in wanted if not isinstance(hparams, dict) or type(hparams.get(name)) is not int]
    if missing:
        raise CheckpointError(f"{folder / 'hparams.json'} has no whole number {missing[0]}")
    return hparams


def _shapes(hparams):
    """Name -> shape, of all that a GPT-2 of this size has."""
    width = hparams["n_embd"]
    shapes = {"wte.weight": (hparams["n_vocab"], width), "wpe.weight": (hparams["n_ctx"], width), "ln_f.weight": (width,),
              "ln_f.bias": (width,)}
    for layer in range(hparams["n_layer"]):
        for part, inputs, outputs in (("attn.c_attn", width, 3 * width), ("attn.c_proj", width, width),
                                      ("mlp.c_fc", width, 4 * width), ("mlp.c_proj", 4 * width, width)):
            shapes[f"h.{layer}.{part}.weight"] = (inputs, outputs)
            shapes[f"h.{layer}.{part}.bias"] = (outputs,)
        for part in ("ln_1", "ln_2"):
            shapes[f"h.{layer}.{part}.weight"] = shapes[f"h.{layer}.{part}.bias"] = (width,)
    return {"transformer." + name: shape for name, shape in shapes.items()}


def read_run(folder):
    """The config, the tensors (name -> (dtype, shape, bytes, a function that gives the values in pieces)), the files to copy
    (new name -> path) and the variables that were left out."""
    for name in ("encoder.json", "vocab.bpe"):
        if not (folder / name).is_file():
            raise CheckpointError(f"{folder / name} is missing; gpt-2-simple keeps it beside the checkpoint, OpenAI beside the model")
    hparams = _hparams(folder)
    bundle = tensorflow_bundle.Bundle(_checkpoint(folder))
    shapes, tensors, left_out = _shapes(hparams), {}, []
    for variable, entry in bundle.entries.items():
        name = _name(variable)
        if name is None:
            left_out.append(variable)
            continue
        shape = entry.shape[1:] if len(entry.shape) == 3 and entry.shape[0] == 1 else entry.shape
        if shapes.get(name) != shape:
            wanted = f"{list(shapes[name])} by hparams.json" if name in shapes else "not of a model of this size"
            raise CheckpointError(f"{variable} has the shape {list(shape)}, {wanted}")
        tensors[name] = (entry.dtype, shape, entry.size, lambda variable=variable: [bundle.values(variable)])
    missing = sorted(set(shapes) - set(tensors))
    if missing:
        raise CheckpointError(f"the checkpoint lacks {missing[0]} and {len(missing) - 1} more tensors that hparams.json asks for")
    try:
        end = json.loads((folder / "encoder.json").read_text(encoding="utf-8")).get(END_OF_TEXT)
    except (ValueError, AttributeError):
        raise CheckpointError(f"{folder / 'encoder.json'} is no JSON object") from None
    if type(end) is not int:
        raise CheckpointError(f"{folder / 'encoder.json'} has no {END_OF_TEXT}")
    config = {"architectures": ["GPT2LMHeadModel"], "model_type": "gpt2", "vocab_size": hparams["n_vocab"],
              "n_positions": hparams["n_ctx"], "n_ctx": hparams["n_ctx"], "n_embd": hparams["n_embd"], "n_head": hparams["n_head"],
              "n_layer": hparams["n_layer"], "n_inner": None, "activation_function": "gelu_new", "layer_norm_epsilon": 1e-5,
              "initializer_range": 0.02, "bos_token_id": end, "eos_token_id": end, "tie_word_embeddings": True,
              "torch_dtype": "float32"}
    return config, tensors, {"vocab.json": folder / "encoder.json", "merges.txt": folder / "vocab.bpe"}, left_out
