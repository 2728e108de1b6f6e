#!/usr/bin/env python3
# SPDX-FileCopyrightText: 2026 The q35 authors
# SPDX-License-Identifier: MIT
"""tools/deploy-groq with and without what it needs. Arguments: deploy-groq, build folder, demo
model, configs/deploy-groq.ini, folder for compiled layers."""
import json
import os
import shutil
import subprocess
import sys
import tempfile
import unittest

DEPLOY, BUILD, DEMO, INI, CACHE = map(os.path.abspath, sys.argv[1:6])
HAVE_TOOLS = all(map(shutil.which, ["mlir-opt-19", "mlir-translate-19", "opt-19", "llc-19", "ld"]))


class Deploy(unittest.TestCase):
    def setUp(self):
        self.dir = tempfile.mkdtemp()
        self.addCleanup(shutil.rmtree, self.dir)
        self.out = os.path.join(self.dir, "out")
        # a PATH without any vendor's program
        self.path = os.path.join(self.dir, "bin")
        os.mkdir(self.path)
        for d in os.environ["PATH"].split(":"):
            for name in os.listdir(d) if os.path.isdir(d) else []:
                target = os.path.join(self.path, name)
                if "groq" not in name and not os.path.lexists(target):
                    os.symlink(os.path.join(d, name), target)

    def script(self, name, text):
        path = os.path.join(self.path, name)
        with open(path, "w") as f:
            f.write("#!/bin/sh\n" + text + "\n")
        os.chmod(path, 0o755)
        return path

    def deploy(self, *extra, model=(DEMO,), base=None, **keys):
        ini = os.path.join(self.dir, "deploy.ini")
        keys = {"mlir_cache": CACHE, **keys}
        with open(ini, "w") as f:
            f.write("[deploy]\n" + "".join(f"{k} = {v}\n" for k, v in keys.items()))
        r = subprocess.run([sys.executable, DEPLOY, "-c", base or ini, "-o", self.out, "--build",
                            BUILD, *model, *extra], stdout=subprocess.PIPE, text=True,
                           stderr=subprocess.STDOUT, env={**os.environ, "PATH": self.path})
        return r.returncode, r.stdout

    def programs(self):
        with open(os.path.join(self.out, "programs.json")) as f:
            return json.load(f)["programs"]

    def test_without_vendor(self):
        status, text = self.deploy()
        self.assertEqual(status, 3, text)
        self.assertIn("groq-compiler is not in PATH", text)
        self.assertIn("upload     not done", text)
        with open(os.path.join(self.out, "deploy.txt")) as f:
            self.assertEqual(f.read(), text)
        for name in ("plan.txt", "report.txt", "report.json"):
            with open(os.path.join(self.out, name)) as f:
                self.assertIn("simulated", f.read().lower(), name)
        with open(os.path.join(self.out, "report.json")) as f:
            json.load(f)
        spans = {p["kind"]: p["layers"] for p in self.programs()}
        self.assertEqual(spans, {"embedding": "0-0", "decoder": "1-80", "head": "81-81"})
        for p in self.programs():
            self.assertLessEqual(p["tile_bytes"], 220 * 1024)
            for end in (".mlir", ".opt.mlir")[:1 + HAVE_TOOLS]:
                with open(os.path.join(self.out, "mlir", p["name"] + end)) as f:
                    self.assertIn("func.func @q35_layer", f.read())
        if HAVE_TOOLS:
            self.assertIn("the same as cpu_simd's", text)

    def test_compiler_without_command(self):
        path = self.script("groq-compiler", "exit 1")
        status, text = self.deploy()
        self.assertEqual(status, 3, text)
        self.assertIn(f"groq-compiler is at {path}, but how to call it is for the INI", text)

    def test_without_mlir(self):
        status, text = self.deploy(mlir_tools="/nonexistent")
        self.assertEqual(status, 3, text)
        self.assertIn("mlir-opt-19 (package mlir-19-tools)", text)
        self.assertEqual(sorted(os.listdir(os.path.join(self.out, "mlir"))),
                         sorted(p["name"] + ".mlir" for p in self.programs()))

    def test_with_vendor(self):
        self.script("vendorc", 'grep -q q35_layer "$1" && echo object > "$2" && '
                    f'echo "$1" >> {self.dir}/seen')
        self.script("vendorup", 'test "$(ls $1/*.bin | wc -l)" = 3')
        self.script("vendorbench", 'grep -q decoder "$1"')
        commands = {"compile": "vendorc {mlir} {binary}", "upload": "vendorup {out}",
                    "benchmark": "vendorbench {programs}"}
        status, text = self.deploy(**commands)
        self.assertEqual(status, 0 if HAVE_TOOLS else 3, text)
        with open(os.path.join(self.dir, "seen")) as f:
            self.assertEqual(len(f.read().split()), 3)
        # one after another may be missing or fail
        status, text = self.deploy(**{**commands, "upload": "no-such-uploader {out}"})
        self.assertEqual(status, 3, text)
        self.assertIn("no-such-uploader is not there", text)
        self.script("vendorc", "echo it cannot >&2; exit 9")
        status, text = self.deploy(**commands)
        self.assertEqual(status, 1, text)
        self.assertIn("exit status 9: it cannot", text)

    def test_synthetic(self):
        status, text = self.deploy(model=("--synthetic", "llama-1b"), chips="16", context="256")
        self.assertEqual(status, 3, text)
        self.assertEqual([p["kind"] for p in self.programs()], ["embedding", "decoder", "head"])
        # what does not fit is refused with the numbers, not placed
        status, text = self.deploy(model=("--synthetic", "llama-70b:80"), chips="1")
        self.assertEqual(status, 1, text)
        self.assertIn("does not fit", text)

    def test_bad(self):
        self.assertEqual(self.deploy(model=())[0], 2)
        self.assertEqual(self.deploy(model=("/nonexistent.gguf",))[0], 1)
        with open(INI) as f:  # the example is what the script reads
            self.assertIn("[deploy]", f.read())


if __name__ == "__main__":
    unittest.main(argv=sys.argv[:1], verbosity=2)
