"""Runs every command of assets/guides, as a reader would type it: python3 tests/guides_test.py BLAZON [GUIDE...]

Each guide's blocks marked "sh" run one after the other in a folder of their own, where assets and models are links to the project's and
build/blazon is one to the program. A command that fails, fails its guide.
"""

import pathlib
import re
import subprocess
import sys
import tempfile
import unittest

ROOT = pathlib.Path(__file__).resolve().parent.parent
GUIDES = ROOT / "assets" / "guides"
BLOCK = re.compile(r"^```sh\n(.*?)^```$", re.MULTILINE | re.DOTALL)
LIMIT_S = 600


def commands(guide):
    return "".join(BLOCK.findall(guide.read_text(encoding="utf-8")))


class GuidesTest(unittest.TestCase):
    def run_guide(self, guide):
        with tempfile.TemporaryDirectory() as folder:
            for name in ("assets", "models"):
                (pathlib.Path(folder) / name).symlink_to(ROOT / name)
            (pathlib.Path(folder) / "build").mkdir()
            (pathlib.Path(folder) / "build" / "blazon").symlink_to(BLAZON)
            done = subprocess.run(["bash", "-euxo", "pipefail", "-c", commands(guide)], cwd=folder, stdin=subprocess.DEVNULL,
                                  stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, errors="replace", timeout=LIMIT_S,
                                  check=False)
            self.assertEqual(done.returncode, 0, f"{guide.name}:\n{done.stdout[-4000:]}")

    def test_the_index_names_every_guide(self):
        index = (GUIDES / "README.md").read_text(encoding="utf-8")
        for guide in GUIDES.glob("*.md"):
            if guide.name != "README.md":
                self.assertIn(f"({guide.name})", index)
                self.assertTrue(commands(guide), f"{guide.name} has no command")

    def test_every_command_runs(self):
        for guide in sorted(GUIDES.glob("*.md")):
            if guide.name != "README.md" and (not ONLY or guide.stem in ONLY):
                with self.subTest(guide=guide.name):
                    self.run_guide(guide)


BLAZON, ONLY = None, ()

if __name__ == "__main__":
    if len(sys.argv) < 2:
        sys.exit(__doc__)
    BLAZON, ONLY = pathlib.Path(sys.argv[1]).resolve(), sys.argv[2:]
    unittest.main(argv=sys.argv[:1])
