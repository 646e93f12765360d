#!/usr/bin/env python3
"""Converts a checkpoint that is pickles, or a GPT-2 that TensorFlow trained, into a folder that Blazon reads.

    convert_checkpoint.py IN OUT

IN: a .bin, .pt or .pth that torch.save wrote; a folder with one, or with pytorch_model.bin.index.json and its parts; or a
run of gpt-2-simple or OpenAI's GPT-2 (hparams.json, encoder.json, vocab.bpe, NAME.index, NAME.data-*).
OUT: a folder that is made; what lies beside the weights (config.json, tokenizer) is copied there.

No code of a file is run: convert/torch_file.py names what a pickle may hold. Types are kept, and each tensor's values,
whatever its strides; tensors that share memory are written once for each name. Needs Python 3.9; for TensorFlow's
checksums numpy too.
"""

import argparse
import json
import pathlib
import shutil
import sys

from convert import CheckpointError, safetensors_file, torch_file

PICKLES = (".bin", ".pt", ".pth", ".ckpt")
INDEX = "pytorch_model.bin.index.json"
NESTS = ("state_dict", "model_state_dict", "model", "module")  # where trainers keep the weights among other things


def shown(name):
    return name.encode("unicode_escape").decode()[:200]


def state_dict(content, path):
    """Name -> Tensor of what was saved, and a line about what was left out of it."""
    notes = []
    if isinstance(content, dict) and not any(isinstance(value, torch_file.Tensor) for value in content.values()):
        nests = [key for key in NESTS if isinstance(content.get(key), dict)
                 and any(isinstance(value, torch_file.Tensor) for value in content[key].values())]
        if nests:
            others = [shown(str(key)) for key in content if key != nests[0]]
            notes.append(f"the weights are under {nests[0]!r}" + (f"; left out: {', '.join(others)}" if others else ""))
            content = content[nests[0]]
    if not isinstance(content, dict):
        raise CheckpointError(f"{path} holds a {type(content).__name__}, not a dict of tensors; save the model's state_dict()")
    tensors = {key: value for key, value in content.items() if isinstance(value, torch_file.Tensor)}
    others = [shown(str(key)) for key in content if key not in tensors]
    if not tensors:
        raise CheckpointError(f"{path} holds no tensors at its top; it has {', '.join(others[:20]) or 'nothing'}")
    if others:
        notes.append(f"left out, since they are no tensors: {', '.join(others[:20])}{' and more' if len(others) > 20 else ''}")
    for name, tensor in tensors.items():
        if not isinstance(name, str) or name == "__metadata__":
            raise CheckpointError(f"{path} has a tensor named {name!r}, which safetensors has no place for")
        try:
            name.encode()
        except UnicodeEncodeError:
            raise CheckpointError(f"{path} has a tensor whose name is no text: {name!r}") from None
    places = {}
    for name, tensor in tensors.items():
        if tensor.count:
            places.setdefault((tensor.storage.key, tensor.offset, tensor.shape, tensor.strides), []).append(name)
    shared = [names for names in places.values() if len(names) > 1]
    if shared:
        notes.append(f"tensors that are one in the file are written once for each name: {', '.join(' = '.join(map(shown, names)) for names in shared[:5])}")
    return tensors, notes


def check_room(folder, size):
    free = shutil.disk_usage(folder).free
    if free < size:
        raise CheckpointError(f"{folder} needs {size / 1e6:.0f} MB, and {free / 1e6:.0f} MB are free")


def write(path, tensors):
    """tensors: name -> (dtype, shape, bytes, a function that gives the values in pieces)."""
    check_room(path.parent, sum(size for _, _, size, _ in tensors.values()))
    with safetensors_file.replaced(path) as file:
        file.write(safetensors_file.header({name: tensor[:3] for name, tensor in tensors.items()}))
        for name, (_, _, size, values) in sorted(tensors.items()):
            before = file.tell()
            for chunk in values():
                file.write(chunk)
            assert file.tell() - before == size, name
    print(f"{path}: {len(tensors)} tensors, {path.stat().st_size / 1e6:.1f} MB")


def convert_pickle(source, target):
    """One pickle to one safetensors file; gives the names and the bytes of its tensors."""
    with torch_file.TorchFile(source) as file:
        tensors, notes = state_dict(file.content, source)
        for note in notes:
            print(f"{source.name}: {note}")
        write(target, {name: (tensor.dtype, tensor.shape, tensor.nbytes, lambda tensor=tensor: file.chunks(tensor))
                       for name, tensor in tensors.items()})
        return {name: tensor.nbytes for name, tensor in tensors.items()}


def convert_parts(folder, out):
    """The pickles that an index names."""
    try:
        parts = json.loads((folder / INDEX).read_text(encoding="utf-8"))["weight_map"]
        files = sorted(set(parts.values()))
        good = all(isinstance(name, str) and pathlib.PurePath(name).name == name and name.endswith(".bin") for name in files)
    except (ValueError, KeyError, TypeError, AttributeError):
        good = False
    if not good or not files:
        raise CheckpointError(f"{folder / INDEX} is no index: it has no weight_map of tensors to .bin files beside it")
    for name in files:
        if not (folder / name).is_file():
            raise CheckpointError(f"{folder / name} is missing; the index names it. Fetch the rest of the checkpoint.")
    weight_map, total = {}, 0
    for name in files:
        target = name[: -len(".bin")].replace("pytorch_model", "model") + ".safetensors"
        sizes = convert_pickle(folder / name, out / target)
        wrong = set(sizes) ^ {tensor for tensor, file in parts.items() if file == name}
        if wrong:
            raise CheckpointError(f"{folder / INDEX} and {name} do not agree on {shown(sorted(wrong)[0])}")
        weight_map.update(dict.fromkeys(sizes, target))
        total += sum(sizes.values())
    index = {"metadata": {"total_size": total}, "weight_map": dict(sorted(weight_map.items()))}
    safetensors_file.write_atomically(out / "model.safetensors.index.json", [json.dumps(index, indent=1).encode() + b"\n"])


def copy_beside(folder, out):
    """What tells how to use the weights."""
    for path in sorted(folder.iterdir()):
        wanted = path.suffix == ".json" and not path.name.endswith(".index.json")
        wanted = wanted or path.name in ("merges.txt", "vocab.txt", "chat_template.jinja") or path.suffix == ".model"
        wanted = wanted or path.name.startswith(("LICENSE", "LICENCE", "NOTICE"))
        if wanted and path.is_file():
            copy(path, out / path.name)
        if path.name == "1_Pooling" and (path / "config.json").is_file():  # of an embedder
            (out / path.name).mkdir(exist_ok=True)
            copy(path / "config.json", out / path.name / "config.json")


def copy(source, target):
    safetensors_file.write_atomically(target, [source.read_bytes()])
    print(f"{target}: copied")


def the_pickle(folder):
    """The one of a folder."""
    if (folder / "pytorch_model.bin").is_file():
        return folder / "pytorch_model.bin"
    found = sorted(path for path in folder.iterdir() if path.suffix in PICKLES and path.name != "training_args.bin")
    if len(found) == 1:
        return found[0]
    if found:
        raise CheckpointError(f"{folder} has {', '.join(path.name for path in found)}; name the one to convert as IN")
    if any(folder.glob("*.safetensors")):
        raise CheckpointError(f"{folder} has safetensors files already; nothing is to be converted")
    raise CheckpointError(f"{folder} has neither a .bin, .pt or .pth, nor {INDEX}, nor a TensorFlow run with hparams.json")


def convert_run(folder, out):
    from convert import gpt2_run  # needs numpy
    config, tensors, files, left_out = gpt2_run.read_run(folder)
    if left_out:
        print(f"left out, since the optimizer alone needs them: {len(left_out)} variables, {left_out[0]} among them")
    write(out / "model.safetensors", tensors)
    for name, path in files.items():
        copy(path, out / name)
    safetensors_file.write_atomically(out / "config.json", [json.dumps(config, indent=2).encode() + b"\n"])
    print(f"{out / 'config.json'}: GPT-2 of {config['n_layer']} layers, {config['n_embd']} wide")


def convert(source, out):
    if not source.exists():
        raise CheckpointError(f"{source} is not there")
    taken = [path.name for path in out.glob("*.safetensors")] if out.is_dir() else []
    if taken:
        raise CheckpointError(f"{out} holds {taken[0]} already; remove it, or choose another folder")
    out.mkdir(parents=True, exist_ok=True)
    if source.is_file():
        convert_pickle(source, out / "model.safetensors")
        return
    if (source / "hparams.json").is_file() and any(source.glob("*.index")):
        convert_run(source, out)
        return
    if (source / INDEX).is_file():
        convert_parts(source, out)
    else:
        convert_pickle(the_pickle(source), out / "model.safetensors")
    if source.resolve() != out.resolve():
        copy_beside(source, out)


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("source", metavar="IN", type=pathlib.Path, help="a .bin, .pt or .pth, a folder with them, or a TensorFlow run of GPT-2")
    parser.add_argument("out", metavar="OUT", type=pathlib.Path, help="the folder to write")
    options = parser.parse_args()
    try:
        convert(options.source, options.out)
    except ImportError as error:
        if error.name != "numpy":
            raise
        sys.exit("convert: numpy is needed for TensorFlow's checksums; run 'make setup', which installs it for /usr/bin/python3")
    except CheckpointError as error:
        sys.exit(f"convert: {error}" if str(options.source) in str(error) else f"convert: {options.source}: {error}")
    except OSError as error:
        sys.exit(f"convert: {error.strerror}: {error.filename}")


if __name__ == "__main__":
    main()
