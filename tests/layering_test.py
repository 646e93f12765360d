"""Fails when an arrow between the parts of this project points the wrong way.

Reads the #include lines and the CMake files of vision/, language/, retrieval/, proto/ and service/, and checks that
  - vision, language and retrieval include neither each other nor proto, service, gRPC or protobuf; retrieval no LibTorch either;
  - protobuf and gRPC headers stay in service/rpc and service/cli, and no source file meets both them and LibTorch's headers,
    directly or through headers of this project (the wheel's include folder carries protobuf headers of another version);
  - only service/cli reads flags, and the libraries read no environment variables;
  - nothing includes a header of tests/, and there is no folder named common or util.
The cases at the end build small wrong trees and expect each rule to find its fault.
"""

import pathlib
import re
import tempfile
import unittest

ROOT = pathlib.Path(__file__).resolve().parent.parent
LIBRARIES = ("vision", "language", "retrieval")
PARTS = LIBRARIES + ("proto", "service")
WIRE_FOLDERS = ("service/rpc", "service/cli")

INCLUDE = re.compile(r'^\s*#\s*include\s*[<"]([^>"]+)[>"]', re.MULTILINE)
TORCH = re.compile(r"^(ATen|torch|c10)/")
WIRE = re.compile(r"^(grpc|grpcpp|google/(protobuf|rpc))/|\.pb\.h$")
FLAGS = re.compile(r"^(absl/flags/|CLI/|gflags/|getopt\.h)")
ENVIRONMENT = re.compile(r"\b(secure_)?getenv\s*\(")
COMMENT = re.compile(r"//[^\n]*|/\*.*?\*/", re.DOTALL)


def part_of(include):
    """The part of the project that a header belongs to, or None."""
    first = include.split("/", 1)[0]
    if first == "blazon" or (first == "proto" and include.endswith(".pb.h")):
        return "proto"  # generated headers: blazon/v1/answer.pb.h
    return first if first in PARTS + ("tests",) and "/" in include else None


def violations(root):
    """One line for each broken rule in the tree under `root`."""
    found = []
    sources = {}  # path relative to root -> (text without comments, includes)
    for part in PARTS:
        for path in sorted((root / part).rglob("*")):
            name = path.relative_to(root).as_posix()
            if path.is_dir() and path.name in ("common", "util", "utils"):
                found.append(f"{name}: a folder of this name gathers helpers without an owner; a helper belongs to its caller")
            if path.suffix in (".h", ".cc", ".cu", ".cuh"):
                text = path.read_text(encoding="utf-8")
                sources[name] = (COMMENT.sub("", text), INCLUDE.findall(text))

    def reachable(name):
        """All headers that `name` includes, through headers of this project too."""
        seen, stack = set(), list(sources[name][1])
        while stack:
            include = stack.pop()
            if include not in seen:
                seen.add(include)
                stack.extend(sources[include][1] if include in sources else ())
        return seen

    for name, (text, includes) in sources.items():
        part = name.split("/", 1)[0]
        may_see_wire = name.startswith(tuple(folder + "/" for folder in WIRE_FOLDERS))
        for include in includes:
            target = part_of(include)
            if target == "tests":
                found.append(f"{name} includes {include}: nothing but tests includes tests/")
            elif part in LIBRARIES and target not in (None, part):
                found.append(f"{name} includes {include}: {part} may not know {target}")
            elif WIRE.search(include) and not may_see_wire and part != "proto":
                found.append(f"{name} includes {include}: protobuf and gRPC stay in {' and '.join(WIRE_FOLDERS)}")
            if part == "retrieval" and TORCH.search(include):
                found.append(f"{name} includes {include}: retrieval knows text and floats, not tensors")
            if FLAGS.search(include) and not name.startswith("service/cli/"):
                found.append(f"{name} includes {include}: only service/cli reads flags")
        if part in LIBRARIES and ENVIRONMENT.search(text):
            found.append(f"{name} reads the environment: a library takes its options from its caller")
        headers = reachable(name)
        if any(map(TORCH.search, headers)) and any(map(WIRE.search, headers)):
            found.append(f"{name} meets the headers of LibTorch and of protobuf, which clash")

    for part in LIBRARIES:
        others = [f"blazon_{other}" for other in PARTS + ("app", "rpc", "checkpoint", "captioning") if other != part]
        for path in sorted((root / part).rglob("CMakeLists.txt")):
            text = re.sub(r"#[^\n]*", "", path.read_text(encoding="utf-8"))
            for other in others:
                if re.search(rf"\b{other}\b", text):
                    found.append(f"{path.relative_to(root).as_posix()} names {other}: {part} may not link it")
    return found


class Layering(unittest.TestCase):
    def test_this_tree_keeps_the_arrows(self):
        self.assertGreater(len(list((ROOT / "service").rglob("*.h"))), 5, "the sources were not found")
        self.assertEqual(violations(ROOT), [])


class WrongTrees(unittest.TestCase):
    def expect(self, files, *messages):
        """A tree of `files` (path -> text) breaks exactly the rules that `messages` are parts of."""
        with tempfile.TemporaryDirectory() as folder:
            root = pathlib.Path(folder)
            for name, text in files.items():
                (root / name).parent.mkdir(parents=True, exist_ok=True)
                (root / name).write_text(text)
            found = violations(root)
        self.assertEqual(len(found), len(messages), found)
        for line, message in zip(found, messages):
            self.assertIn(message, line)

    def test_right_arrows_pass(self):
        self.expect({
            "vision/image.h": "#include <vector>\n#include \"absl/status/status.h\"\n",
            "vision/a.cc": "#include \"vision/image.h\"\n#include <ATen/core/Tensor.h>\n// getenv(\"HOME\") is not called\n",
            "service/captioner.cc": "#include \"vision/image.h\"\n#include \"language/scheduler.h\"\n",
            "service/rpc/a.cc": "#include \"blazon/v1/answer.pb.h\"\n#include <grpcpp/server.h>\n",
            "service/cli/flags.cc": "#include <CLI/CLI.hpp>\n",
        })

    def test_libraries_do_not_know_each_other(self):
        self.expect({"vision/a.cc": "#include \"language/scheduler.h\"\n"}, "vision may not know language")
        self.expect({"retrieval/a.cc": "#  include <service/answerer.h>\n"}, "retrieval may not know service")
        self.expect({"language/a.h": "#include \"blazon/v1/answer.pb.h\"\n"}, "language may not know proto")
        self.expect({"vision/CMakeLists.txt": "target_link_libraries(blazon_vision blazon_language)\n"}, "names blazon_language")

    def test_the_wire_stays_at_the_edge(self):
        self.expect({"service/answerer.h": "#include <grpcpp/server.h>\n"}, "stay in service/rpc and service/cli")
        self.expect({"language/a.h": "#include <google/protobuf/message.h>\n"}, "stay in service/rpc and service/cli")

    def test_torch_and_protobuf_do_not_meet(self):
        both = "#include <ATen/core/Tensor.h>\n#include \"blazon/v1/answer.pb.h\"\n"
        self.expect({"service/rpc/a.cc": both}, "service/rpc/a.cc meets the headers")
        self.expect({
            "language/model.h": "#include <c10/core/Device.h>\n",
            "service/store.h": "#include \"language/model.h\"\n",
            "service/rpc/a.cc": "#include \"service/store.h\"\n#include <grpcpp/server.h>\n",
        }, "service/rpc/a.cc meets the headers")

    def test_retrieval_has_no_tensors(self):
        self.expect({"retrieval/a.h": "#include <ATen/core/Tensor.h>\n"}, "not tensors")

    def test_libraries_read_no_flags(self):
        self.expect({"language/a.cc": "#include \"absl/flags/flag.h\"\n"}, "only service/cli reads flags")
        self.expect({"service/answerer.cc": "#include <CLI/CLI.hpp>\n"}, "only service/cli reads flags")
        self.expect({"vision/a.cc": "const char* home = std::getenv(\"HOME\");\n"}, "reads the environment")

    def test_nothing_includes_tests(self):
        self.expect({"service/a.cc": "#include \"tests/reference/plain.h\"\n"}, "nothing but tests")

    def test_no_common_folder(self):
        self.expect({"service/util/strings.h": "#include <string>\n"}, "a helper belongs to its caller")


if __name__ == "__main__":
    unittest.main(verbosity=2)
