#!/usr/bin/env python3
"""The converters of setup/: what PyTorch and TensorFlow wrote (tests/goldens/convert, made by
tests/reference/convert_goldens.py) becomes what Blazon loads, value by value; what is hostile or damaged is refused.

    convert_test.py BLAZON
"""

import collections
import hashlib
import io
import json
import os
import pathlib
import pickle
import random
import struct
import subprocess
import sys
import tempfile
import unittest
import zipfile

ROOT = pathlib.Path(__file__).resolve().parent.parent
GOLDENS = ROOT / "tests/goldens/convert"
sys.path.insert(0, str(ROOT / "setup"))
sys.dont_write_bytecode = True

from convert import CheckpointError, crc32c, tensorflow_bundle, torch_file  # noqa: E402

BLAZON = None


def convert(source, out):
    """The exit status and what was printed, of the converter in a process of its own."""
    run = subprocess.run([sys.executable, "-B", str(ROOT / "setup/convert_checkpoint.py"), str(source), str(out)],
                         capture_output=True, text=True, timeout=120)
    return run.returncode, run.stdout, run.stderr


def read_safetensors(path):
    """Name -> (dtype, shape, bytes)."""
    data = path.read_bytes()
    size = struct.unpack("<Q", data[:8])[0]
    header = json.loads(data[8 : 8 + size])
    assert header.pop("__metadata__") == {"format": "pt"}
    values = data[8 + size :]
    at = 0
    for entry in sorted(header.values(), key=lambda entry: entry["data_offsets"]):
        assert entry["data_offsets"][0] == at, "the values stand end to end"
        at = entry["data_offsets"][1]
    assert at == len(values)
    return {name: (entry["dtype"], entry["shape"], values[slice(*entry["data_offsets"])]) for name, entry in header.items()}


def blazon(*arguments):
    run = subprocess.run([BLAZON, *arguments], capture_output=True, text=True, timeout=120)
    return run.returncode, run.stdout, run.stderr


class Converted(unittest.TestCase):
    def setUp(self):
        folder = tempfile.TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        self.out = pathlib.Path(folder.name) / "out"

    def converted(self, source):
        status, output, errors = convert(source, self.out)
        self.assertEqual((status, errors), (0, ""))
        return output

    def refused(self, source, *parts):
        status, _, errors = convert(source, self.out)
        self.assertEqual(status, 1, errors)
        for part in parts:
            self.assertIn(part, errors)
        self.assertEqual(errors.count("\n"), 1, errors)
        self.assertFalse(list(self.out.glob("*.safetensors")) if self.out.is_dir() else [])


class Pickles(Converted):
    def check_values(self, source, leave_out):
        output = self.converted(source)
        golden = json.loads((GOLDENS / "tensors.json").read_text())
        found = read_safetensors(self.out / "model.safetensors")
        expected = {name: tensor for name, tensor in golden["tensors"].items() if name not in leave_out}
        self.assertEqual(sorted(found), sorted(expected))
        for name, (dtype, shape, values) in found.items():
            self.assertEqual({"dtype": dtype, "shape": shape, "sha256": hashlib.sha256(values).hexdigest()}, expected[name],
                             f"{name}; the golden is made by: python tests/reference/convert_goldens.py torch")
        self.assertIn("written once for each name: plain = the same", output)

    def test_zip(self):
        self.check_values(GOLDENS / "zip.pt", [])

    def test_the_format_before_1_6(self):
        self.check_values(GOLDENS / "legacy.pth", json.loads((GOLDENS / "tensors.json").read_text())["new_format_only"])

    def test_weights_among_other_things(self):
        output = self.converted(GOLDENS / "nested.pt")
        self.assertIn("the weights are under 'state_dict'; left out: epoch, lr", output)
        self.assertEqual(list(read_safetensors(self.out / "model.safetensors")), ["weight"])

    def test_another_name_is_refused_by_name(self):
        self.refused(GOLDENS / "with_code.pt", "names transformers.models.gpt2.configuration_gpt2.GPT2Config")

    def test_nothing_is_written_over(self):
        self.out.mkdir()
        (self.out / "model.safetensors").write_bytes(b"precious")
        status, _, errors = convert(GOLDENS / "zip.pt", self.out)
        self.assertEqual(status, 1)
        self.assertIn("holds model.safetensors already", errors)
        self.assertEqual((self.out / "model.safetensors").read_bytes(), b"precious")


class Gpt2(Converted):
    def check_logprobs(self, golden, tolerance):
        status, output, errors = blazon("models", "inspect", "--json", str(self.out))
        self.assertEqual(status, 0, errors)
        report = json.loads(output)
        self.assertTrue(report["runs"], report)
        self.assertEqual((report["model_type"], report["layers"], report["width"]), ("gpt2", 2, 16))
        expected = json.loads((GOLDENS / golden).read_text())
        tokens = expected["tokens"]
        status, output, errors = blazon("score", "--json", "--model", str(self.out), "--dtype", "fp32", "--token-ids",
                                        "--prompt", str(tokens[0]), "--completion", json.dumps(tokens[1:]))
        self.assertEqual(status, 0, errors)
        found = [token["logprob"] for token in json.loads(output)["tokens"]]
        self.assertEqual(len(found), len(expected["logprobs"]))
        for ours, theirs in zip(found, expected["logprobs"]):
            self.assertAlmostEqual(ours, theirs, delta=tolerance)
        status, output, errors = blazon("generate", "--model", str(self.out), "--max-new-tokens", "4", "the")
        self.assertEqual(status, 0, errors)

    def test_whole(self):
        self.converted(GOLDENS / "gpt2_whole")
        self.check_logprobs("gpt2_torch.json", 1e-4)

    def test_in_parts(self):
        self.converted(GOLDENS / "gpt2_parts")
        index = json.loads((self.out / "model.safetensors.index.json").read_text())
        self.assertEqual(sorted(set(index["weight_map"].values())),
                         ["model-00001-of-00002.safetensors", "model-00002-of-00002.safetensors"])
        self.assertEqual({tensor[0] for tensor in read_safetensors(self.out / "model-00001-of-00002.safetensors").values()}, {"BF16"})
        self.check_logprobs("gpt2_torch.json", 0.1)  # its weights were rounded to bf16

    def test_tensorflow(self):
        output = self.converted(GOLDENS / "gpt2_run")
        self.assertIn("left out, since the optimizer alone needs them: ", output)
        self.check_logprobs("gpt2_tensorflow.json", 1e-4)
        status, output, _ = blazon("tokenize", "--json", "--model", str(self.out), "the the")
        self.assertEqual([token["text"] for token in json.loads(output)["tokens"]], ["the", " the"])

    def test_a_damaged_run_is_refused(self):
        with tempfile.TemporaryDirectory() as folder:
            run = pathlib.Path(folder)

            def fresh():
                for path in (GOLDENS / "gpt2_run").iterdir():
                    (run / path.name).write_bytes(path.read_bytes())

            def change(name, at, to):
                data = bytearray((run / name).read_bytes())
                data[at] ^= to
                (run / name).write_bytes(data)

            fresh()
            change("model-3.data-00000-of-00001", 1000, 1)
            self.refused(run, "its checksum is another one")
            fresh()
            change("model-3.index", 100, 1)
            self.refused(run, "a block's checksum is another one")
            fresh()
            (run / "vocab.bpe").unlink()
            self.refused(run, "vocab.bpe is missing")
            fresh()
            (run / "hparams.json").write_text('{"n_vocab": 260, "n_ctx": 32, "n_embd": 16, "n_head": 2, "n_layer": 3}')
            self.refused(run, "lacks transformer.h.2.")
            fresh()
            (run / "hparams.json").write_text('{"n_vocab": 260, "n_ctx": 32, "n_embd": 18, "n_head": 2, "n_layer": 2}')
            self.refused(run, "by hparams.json")
            fresh()
            (run / "checkpoint").write_text('model_checkpoint_path: "../../elsewhere/model-9"\n')
            self.refused(run, "names the state 'model-9'")


def zipped(pickled, storages=(), compression=zipfile.ZIP_STORED):
    """What torch.save writes, with this pickle in it."""
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w", compression) as archive:
        archive.writestr("archive/data.pkl", pickled)
        for key, data in storages:
            archive.writestr(f"archive/data/{key}", data)
    return file.getvalue()


class Hostile(Converted):
    def written(self, data):
        self.out.parent.mkdir(exist_ok=True)
        path = self.out.parent / "hostile.pt"
        path.write_bytes(data)
        return path

    def test_no_code_runs(self):
        touched = self.out.parent / "touched"

        class Evil:
            def __init__(self, *reduced):
                self.reduced = reduced

            def __reduce__(self):
                return self.reduced

        for evil, name in ((Evil(os.system, (f"touch {touched}",)), "posix.system"),
                           (Evil(eval, (f"open({str(touched)!r}, 'w')",)), "builtins.eval"),
                           (Evil(getattr, (collections.OrderedDict, "fromkeys")), "builtins.getattr"),
                           (Evil(subprocess.Popen, (["touch", str(touched)],)), "subprocess.Popen")):
            body = pickle.dumps({"weight": evil}, 4)
            for data in (zipped(body), body, pickle.dumps(torch_file.LEGACY_MAGIC, 2) + body):
                with self.assertRaisesRegex(CheckpointError, f"names {name}"):
                    torch_file.TorchFile(self.written(data))
            self.refused(self.written(zipped(body)), f"names {name}")
        self.assertFalse(touched.exists())

    def test_what_the_unpickler_made_cannot_be_changed(self):
        # BUILD sets attributes of what was made: of the names that are known, none may have any.
        for name in torch_file.ALLOWED:
            if name == ("collections", "OrderedDict"):
                continue
            for state in (b"}X\x01\x00\x00\x00aK\x01s", b"N}X\x01\x00\x00\x00aK\x01s\x86"):
                body = b"\x80\x02c" + "\n".join(name).encode() + b"\n" + state + b"b."
                with self.assertRaises(CheckpointError, msg=name):
                    torch_file._load(io.BytesIO(body))

    def test_tensors_that_reach_elsewhere(self):
        reference = b"(X\x07\x00\x00\x00storagectorch\nFloatStorage\nX\x01\x00\x00\x000X\x03\x00\x00\x00cpuK\x04tQ"

        def tensor(offset, shape, strides):
            # _rebuild_tensor_v2(storage, offset, shape, strides, False, None); of each pickle without its frame
            parts = [pickle.dumps(part, 2)[2:-1] for part in (offset, shape, strides)]
            return b"\x80\x02}X\x01\x00\x00\x00wctorch._utils\n_rebuild_tensor_v2\n(" + reference + b"".join(parts) + b"\x89NtRs."

        good = self.written(zipped(tensor(0, (2, 2), (2, 1)), [("0", bytes(16))]))
        self.converted(good)
        (self.out / "model.safetensors").unlink()
        for offset, shape, strides, part in ((1, (2, 2), (2, 1), "reaches past"), (-1, (2,), (1,), "unknown form"),
                                             (0, (4,), (-1,), "unknown form"), (0, (2**40,), (0,), "repeats the values"),
                                             (0, (2,), (1, 1), "1 sizes and 2 strides"), (0, (2.0,), (1,), "unknown form"),
                                             (0, (2**62, 2**62), (1, 1), "unknown form"), (0, (True,), (1,), "unknown form")):
            self.refused(self.written(zipped(tensor(offset, shape, strides), [("0", bytes(16))])), part)
        body = tensor(0, (2, 2), (2, 1))
        self.refused(self.written(zipped(body, [("0", bytes(12))])), "another size than its 4 values")
        self.refused(self.written(zipped(body)), "is missing")
        self.refused(self.written(zipped(body, [("0", bytes(16))], zipfile.ZIP_DEFLATED)), "is compressed")

    def test_damaged_files(self):
        whole = (GOLDENS / "zip.pt").read_bytes()
        self.refused(self.written(whole[:-200]), "broken or cut short")
        self.refused(self.written(b""), "neither a zip archive nor")
        self.refused(self.written(b"not a pickle"), "the pickle is broken")
        self.refused(self.written((GOLDENS / "legacy.pth").read_bytes()[:-1]), "cut short")
        self.refused(self.written(zipped(pickle.dumps([1, 2], 2))), "holds a list, not a dict of tensors")
        self.refused(self.out.parent / "absent.pt", "is not there")

    def test_any_changed_byte_ends_in_an_error_or_in_tensors(self):
        dice = random.Random(5)
        for name, read in (("zip.pt", self.read_torch), ("legacy.pth", self.read_torch), ("gpt2_run/model-3.index", self.read_index)):
            whole = (GOLDENS / name).read_bytes()
            errors = 0
            for _ in range(300):
                data = bytearray(whole)
                for _ in range(dice.choice((1, 1, 2, 8))):
                    data[dice.randrange(len(data))] = dice.randrange(256)
                if dice.random() < 0.2:
                    del data[dice.randrange(len(data)) :]
                try:
                    read(self.written(data))
                except CheckpointError:
                    errors += 1
            self.assertGreater(errors, 30, name)

    @staticmethod
    def read_torch(path):
        with torch_file.TorchFile(path) as file:
            content = file.content
            for tensor in content.values() if isinstance(content, dict) else ():
                if isinstance(tensor, torch_file.Tensor):
                    assert sum(map(len, file.chunks(tensor))) == tensor.nbytes

    @staticmethod
    def read_index(path):
        tensorflow_bundle.read_index(path)


class Crc32c(unittest.TestCase):
    def test_known_values(self):
        # RFC 3720, B.4
        for data, crc in ((bytes(32), 0x8A9136AA), (b"\xff" * 32, 0x62A8AB43), (bytes(range(32)), 0x46DD794E),
                          (bytes(range(31, -1, -1)), 0x113FDB5C), (b"123456789", 0xE3069283), (b"", 0)):
            self.assertEqual(crc32c.crc32c(data), crc)

    def test_lengths_around_its_rows(self):
        def one_by_one(data):
            crc = 0xFFFFFFFF
            for byte in data:
                crc = int(crc32c.TABLE[(crc ^ byte) & 255]) ^ (crc >> 8)
            return crc ^ 0xFFFFFFFF

        for length in (1, 3, 2047, 2048, 2049, 3 * 2048 + 5, 70001):
            data = random.Random(length).randbytes(length)
            self.assertEqual(crc32c.crc32c(data), one_by_one(data), length)


if __name__ == "__main__":
    BLAZON = sys.argv.pop(1)
    unittest.main(verbosity=2)
