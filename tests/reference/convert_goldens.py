#!/usr/bin/env python3
"""Makes the files of tests/goldens/convert that tests/convert_test.py converts, with the programs that wrote such files.

    python tests/reference/convert_goldens.py torch        with PyTorch 2.11 and transformers 5.17
    python tests/reference/convert_goldens.py tensorflow   with TensorFlow 2.21

torch: what torch.save writes in both of its formats, with the digests of each tensor's values, and a tiny GPT-2 as
pytorch_model.bin, whole and in parts, with what transformers makes of a text.
tensorflow: a tiny GPT-2 built, trained for a few steps with Adam and saved as gpt-2-simple does it, with what it makes of a
text.
"""

import hashlib
import json
import pathlib
import shutil
import sys

import numpy

FOLDER = pathlib.Path(__file__).resolve().parent.parent / "goldens/convert"
TOKENS = [5, 71, 33, 200, 8, 8, 251, 17, 42, 99]
HPARAMS = {"n_vocab": 260, "n_ctx": 32, "n_embd": 16, "n_head": 2, "n_layer": 2}


def tokenizer():
    """The 256 bytes in GPT-2's alphabet, three merges and the end of a text: encoder.json and vocab.bpe."""
    bytes_shown = [*range(33, 127), *range(161, 173), *range(174, 256)]
    others = [byte for byte in range(256) if byte not in bytes_shown]
    alphabet = [chr(byte) for byte in bytes_shown] + [chr(256 + i) for i in range(len(others))]
    merges = [("t", "h"), ("th", "e"), ("\u0120", "the")]
    pieces = alphabet + [a + b for a, b in merges] + ["<|endoftext|>"]
    return {piece: i for i, piece in enumerate(pieces)}, "#version: 0.2\n" + "".join(f"{a} {b}\n" for a, b in merges)


def write_json(name, value):
    (FOLDER / name).write_text(json.dumps(value, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")


def make_torch():
    import torch
    import transformers

    torch.manual_seed(1)
    base, square = torch.randn(6, 8), torch.arange(42, dtype=torch.int32).reshape(6, 7)
    tensors = {
        "plain": base, "the same": base, "a row of it": base[2], "transposed": base.t(), "strided": base[1::2, ::3],
        "permuted": torch.randn(2, 3, 4, 5).permute(3, 1, 0, 2), "half": torch.randn(3, 4).half(),
        "bf16": torch.randn(5, 3).bfloat16(), "bf16 transposed": torch.randn(5, 3).bfloat16().t(), "double": torch.randn(3).double(),
        "long": torch.tensor([2**40, -1]), "int": square.t(), "short": torch.tensor([-3], dtype=torch.int16),
        "char": torch.tensor([[-1], [1]], dtype=torch.int8), "byte": torch.arange(9, dtype=torch.uint8).reshape(3, 3).t(),
        "bool": torch.tensor([True, False, True]), "scalar": torch.tensor(1.5), "empty": torch.zeros(0, 4),
        "parameter": torch.nn.Parameter(torch.randn(2, 2)), "größe": torch.ones(1),
    }
    new = {"float8": torch.randn(4, 4).to(torch.float8_e4m3fn), "uint16": torch.tensor([65535], dtype=torch.uint16)}
    torch.save({**tensors, **new}, FOLDER / "zip.pt")
    torch.save(tensors, FOLDER / "legacy.pth", _use_new_zipfile_serialization=False)
    torch.save({"epoch": 3, "state_dict": {"weight": base}, "lr": 0.1}, FOLDER / "nested.pt")
    torch.save({"weight": base, "code": transformers.GPT2Config()}, FOLDER / "with_code.pt")
    names = {"float32": "F32", "float16": "F16", "bfloat16": "BF16", "float64": "F64", "int64": "I64", "int32": "I32", "int16": "I16",
             "int8": "I8", "uint8": "U8", "bool": "BOOL", "float8_e4m3fn": "F8_E4M3", "uint16": "U16"}
    expected = {}
    for name, tensor in {**tensors, **new}.items():
        values = tensor.detach().contiguous().reshape(-1).view(torch.uint8).numpy().tobytes()
        expected[name] = {"dtype": names[str(tensor.dtype)[6:]], "shape": list(tensor.shape), "sha256": hashlib.sha256(values).hexdigest()}
    write_json("tensors.json", {"made_with": f"torch {torch.__version__}", "new_format_only": sorted(new), "tensors": expected})

    config = transformers.GPT2Config(vocab_size=HPARAMS["n_vocab"], n_positions=HPARAMS["n_ctx"], n_embd=HPARAMS["n_embd"],
                                     n_head=HPARAMS["n_head"], n_layer=HPARAMS["n_layer"], bos_token_id=259, eos_token_id=259)
    model = transformers.GPT2LMHeadModel(config).eval()
    for parameter in model.parameters():
        torch.nn.init.normal_(parameter, std=0.3)
    with torch.no_grad():
        logprobs = torch.log_softmax(model(torch.tensor([TOKENS])).logits[0].double(), -1)
    for kind in ("whole", "parts"):
        folder = FOLDER / f"gpt2_{kind}"
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir()
        (folder / "config.json").write_text(json.dumps(config.to_diff_dict() | {"model_type": "gpt2", "vocab_size": HPARAMS["n_vocab"]}, indent=1) + "\n")
        encoder, merges = tokenizer()
        (folder / "vocab.json").write_text(json.dumps(encoder), encoding="utf-8")
        (folder / "merges.txt").write_text(merges, encoding="utf-8")
    state = model.state_dict()  # lm_head.weight is transformer.wte.weight
    torch.save(state, FOLDER / "gpt2_whole/pytorch_model.bin")
    weight_map, parts = {}, {}
    for i, (name, tensor) in enumerate(state.items()):
        part = f"pytorch_model-{1 + (2 * i >= len(state)):05d}-of-00002.bin"
        parts.setdefault(part, {})[name] = tensor.bfloat16()
        weight_map[name] = part
    for part, tensors in parts.items():
        torch.save(tensors, FOLDER / "gpt2_parts" / part)
    (FOLDER / "gpt2_parts/pytorch_model.bin.index.json").write_text(json.dumps({"metadata": {}, "weight_map": weight_map}, indent=1) + "\n")
    write_json("gpt2_torch.json", {"made_with": f"transformers {transformers.__version__}", "tokens": TOKENS,
                                   "logprobs": [float(logprobs[i, TOKENS[i + 1]]) for i in range(len(TOKENS) - 1)]})


def make_tensorflow():
    import tensorflow
    tf = tensorflow.compat.v1
    tf.disable_eager_execution()
    tf.set_random_seed(2)
    width, heads = HPARAMS["n_embd"], HPARAMS["n_head"]

    def variable(name, shape):
        return tf.get_variable(name, shape, initializer=tf.random_normal_initializer(stddev=0.3))

    def norm(x, scope):
        with tf.variable_scope(scope):
            g, b = variable("g", [width]), variable("b", [width])
            mean = tf.reduce_mean(x, -1, keepdims=True)
            return (x - mean) * tf.rsqrt(tf.reduce_mean(tf.square(x - mean), -1, keepdims=True) + 1e-5) * g + b

    def linear(x, scope, outputs):
        with tf.variable_scope(scope):
            w, b = variable("w", [1, x.shape[-1], outputs]), variable("b", [outputs])
            return tf.matmul(x, w[0]) + b

    def attend(x):
        queries, keys, values = (tf.transpose(tf.reshape(part, [-1, heads, width // heads]), [1, 0, 2])
                                 for part in tf.split(linear(x, "c_attn", 3 * width), 3, axis=-1))
        scores = tf.matmul(queries, keys, transpose_b=True) / numpy.sqrt(width // heads)
        seen = tf.linalg.band_part(tf.ones(tf.shape(scores)[1:]), -1, 0)
        weights = tf.nn.softmax(scores * seen - 1e10 * (1 - seen))
        return linear(tf.reshape(tf.transpose(tf.matmul(weights, values), [1, 0, 2]), [-1, width]), "c_proj", width)

    def feed_forward(x):
        x = linear(x, "c_fc", 4 * width)
        x = 0.5 * x * (1 + tf.tanh(numpy.sqrt(2 / numpy.pi) * (x + 0.044715 * x**3)))
        return linear(x, "c_proj", width)

    tokens = tf.placeholder(tf.int32, [None])
    with tf.variable_scope("model"):
        wpe, wte = variable("wpe", [HPARAMS["n_ctx"], width]), variable("wte", [HPARAMS["n_vocab"], width])
        x = tf.gather(wte, tokens) + wpe[: tf.shape(tokens)[0]]
        for layer in range(HPARAMS["n_layer"]):
            with tf.variable_scope(f"h{layer}"):
                h = norm(x, "ln_1")
                with tf.variable_scope("attn"):
                    x = x + attend(h)
                h = norm(x, "ln_2")
                with tf.variable_scope("mlp"):
                    x = x + feed_forward(h)
        logits = tf.matmul(norm(x, "ln_f"), wte, transpose_b=True)
    logprobs = tf.nn.log_softmax(logits)
    loss = -tf.reduce_mean(tf.gather(logprobs[:-1], tokens[1:], batch_dims=1, axis=1))
    train = tf.train.AdamOptimizer(0.01).minimize(loss)

    folder = FOLDER / "gpt2_run"
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir()
    with tf.Session() as session:
        session.run(tf.global_variables_initializer())
        for _ in range(3):
            session.run(train, {tokens: TOKENS[::-1]})
        tf.train.Saver(tf.global_variables()).save(session, str(folder / "model"), global_step=3, write_meta_graph=False)
        found = session.run(logprobs, {tokens: TOKENS}).astype(float)
    (folder / "checkpoint").write_text('model_checkpoint_path: "/home/someone/checkpoint/run1/model-3"\n')
    (folder / "hparams.json").write_text(json.dumps(HPARAMS))
    encoder, merges = tokenizer()
    (folder / "encoder.json").write_text(json.dumps(encoder), encoding="utf-8")
    (folder / "vocab.bpe").write_text(merges, encoding="utf-8")
    write_json("gpt2_tensorflow.json", {"made_with": f"tensorflow {tensorflow.__version__}", "tokens": TOKENS,
                                        "logprobs": [found[i, TOKENS[i + 1]] for i in range(len(TOKENS) - 1)]})


if __name__ == "__main__":
    FOLDER.mkdir(exist_ok=True)
    {"torch": make_torch, "tensorflow": make_tensorflow}[sys.argv[1]]()
