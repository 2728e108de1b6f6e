#!/usr/bin/env python3
# SPDX-FileCopyrightText: 2026 The q35 authors
# SPDX-License-Identifier: MIT
"""mode = mlir from outside: the demo model's tokens, the cache, and tools that are missing, fail,
hang or write rubbish. Arguments: q35, groq.so, cpu_simd.so, demo model."""
import os
import platform
import shutil
import stat
import subprocess
import sys
import tempfile
import unittest

Q35, GROQ, CPU, DEMO = map(os.path.abspath, sys.argv[1:5])
SEARCHED = ["mlir-opt-19", "mlir-translate-19", "opt-19", "llc-19", "ld"]
PROMPTS = ["The", "Once upon a time", "2 + 2 ="]


class Tools(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        # One folder of compiled layers for the tests that do not look at it.
        cls.warm = tempfile.mkdtemp()
        cls.addClassCleanup(shutil.rmtree, cls.warm)

    def setUp(self):
        self.dir = tempfile.mkdtemp()
        self.addCleanup(shutil.rmtree, self.dir)
        self.cache = os.path.join(self.dir, "cache")

    def ini(self, mode, extra="", cpu=False):
        path = os.path.join(self.dir, "q35.ini")
        with open(path, "w") as f:
            f.write(f"[model]\npath = {DEMO}\n[backend lpu]\npath = {GROQ}\nmode = {mode}\n{extra}\n")
            if cpu:
                f.write(f"[backend cpu]\npath = {CPU}\n"
                        "[schedule]\nlayers.cpu = 0-29\nlayers.lpu = 30-79\n")
        return path

    def start(self, ini, prompt="The", **env):
        return subprocess.Popen(
            [Q35, "run", "-c", ini, "-p", prompt, "-n", "24", "--temp", "0", "--context", "128"],
            stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env={**os.environ, **env})

    def finish(self, process):
        out, err = process.communicate(timeout=300)
        return process.returncode, out, err

    def run_demo(self, ini, prompt="The", **env):
        return self.finish(self.start(ini, prompt, **env))

    def expected(self, prompt="The"):
        r = subprocess.run([Q35, "run", "-m", DEMO, "-p", prompt, "-n", "24", "--temp", "0",
                            "--context", "128"], stdout=subprocess.PIPE, text=True, check=True)
        return r.stdout

    def tool_folder(self, **scripts):
        """A folder with the real tools, some of them replaced by scripts."""
        folder = os.path.join(self.dir, "tools")
        os.mkdir(folder)
        for name in SEARCHED:
            path = os.path.join(folder, name)
            script = scripts.get(name.replace("-", "_"))
            if script is None:
                os.symlink(shutil.which(name), path)
            else:
                with open(path, "w") as f:
                    f.write("#!/bin/sh\n" + script + "\n")
                os.chmod(path, 0o755)
        return folder

    def objects(self):
        return sorted(os.listdir(self.cache))

    # ---- tokens

    def test_tokens(self):
        alone = self.ini("mlir", f"mlir_cache = {self.warm}")
        for prompt in PROMPTS:
            status, out, err = self.run_demo(alone, prompt)
            self.assertEqual((status, out), (0, self.expected(prompt)), err)

    def test_tokens_split(self):
        status, out, err = self.run_demo(self.ini("mlir", f"mlir_cache = {self.warm}", cpu=True))
        self.assertEqual((status, out), (0, self.expected()), err)

    # ---- the cache

    def test_cache(self):
        ini = self.ini("mlir", f"mlir_cache = {self.cache}")
        together = [self.start(ini) for _ in range(3)]  # all find it empty
        for p in together:
            status, out, err = self.finish(p)
            self.assertEqual((status, out), (0, self.expected()), err)
        objects = self.objects()
        self.assertEqual(len(objects), 3)  # embedding, one for 80 layers, head
        times = [os.stat(os.path.join(self.cache, o)).st_mtime_ns for o in objects]
        for o in objects:
            self.assertTrue(o.endswith(".so"))
            self.assertEqual(stat.S_IMODE(os.stat(os.path.join(self.cache, o)).st_mode), 0o500)

        # nothing is compiled again
        status, out, err = self.run_demo(ini)
        self.assertEqual((status, self.objects()), (0, objects), err)
        self.assertEqual(times, [os.stat(os.path.join(self.cache, o)).st_mtime_ns for o in objects])

        # another target is another object; this one has no fused multiply-add
        if platform.machine() == "x86_64":
            status, out, err = self.run_demo(self.ini(
                "mlir", f"mlir_cache = {self.cache}\nmlir_cpu = x86-64-v2"))
            self.assertEqual((status, out, len(self.objects())), (0, self.expected(), 6), err)

        ini = self.ini("mlir", f"mlir_cache = {self.cache}")
        # a damaged object is made anew, and one that others could have written
        victim = os.path.join(self.cache, objects[0])
        os.remove(victim)
        with open(victim, "wb") as f:
            f.write(b"\x7fELF rubbish")
        other = os.path.join(self.cache, objects[1])
        os.chmod(other, 0o777)
        status, out, err = self.run_demo(ini)
        self.assertEqual((status, out), (0, self.expected()), err)
        self.assertGreater(os.path.getsize(victim), 1000)
        self.assertEqual(stat.S_IMODE(os.stat(other).st_mode), 0o500)

    def test_cache_of_others(self):
        os.mkdir(self.cache)
        os.chmod(self.cache, 0o777)
        status, _, err = self.run_demo(self.ini("mlir", f"mlir_cache = {self.cache}"))
        self.assertNotEqual(status, 0)
        self.assertIn("others may write to it", err)

    def test_default_cache(self):
        status, _, err = self.run_demo(self.ini("mlir"), XDG_CACHE_HOME=self.dir)
        self.assertEqual(status, 0, err)
        self.assertEqual(len(os.listdir(os.path.join(self.dir, "q35", "mlir"))), 3)

    def test_dump(self):
        dump = os.path.join(self.dir, "dump")
        os.mkdir(dump)
        status, _, err = self.run_demo(
            self.ini("mlir", f"mlir_cache = {self.warm}\ndump_mlir = {dump}"))
        self.assertEqual(status, 0, err)
        names = sorted(os.listdir(dump))
        self.assertEqual([n.split("-")[0] for n in names],
                         ["decoder"] * 2 + ["embedding"] * 2 + ["head"] * 2)
        for n in names:
            with open(os.path.join(dump, n)) as f:
                text = f.read()
            self.assertEqual("vector.transfer_read" in text and "affine.for" in text,
                             n.endswith(".opt.mlir") and "embedding" not in n, n)
            subprocess.run(["mlir-opt-19", os.path.join(dump, n), "-o", "/dev/null"], check=True)

    # ---- tools

    def test_missing(self):
        for extra, path in (("mlir_tools = /nonexistent", os.environ["PATH"]),
                            ("", "/nonexistent")):
            status, _, err = self.run_demo(self.ini("mlir", extra), PATH=path)
            self.assertNotEqual(status, 0)
            self.assertIn("mlir-opt-19 (package mlir-19-tools)", err)
            self.assertIn("llc-19 (package llvm-19)", err)
            r = subprocess.run([Q35, "verify-plugin", "--check", "open", "--options",
                                ",".join(["mode=mlir", extra.replace(" ", "")]).rstrip(","), GROQ],
                               env={**os.environ, "PATH": path}, stdout=subprocess.PIPE, text=True)
            self.assertEqual(r.returncode, 77, r.stdout)
        status, out, err = self.run_demo(self.ini("sim"), PATH="/nonexistent")
        self.assertEqual((status, out), (0, self.expected()), err)

    def failing(self, timeout=60, **scripts):
        folder = self.tool_folder(**scripts)
        status, out, err = self.run_demo(self.ini(
            "mlir", f"mlir_cache = {self.cache}\nmlir_tools = {folder}\nmlir_timeout = {timeout}"))
        self.assertNotEqual(status, 0)
        self.assertEqual(out, "")
        self.assertEqual(self.objects(), [])  # and no working folder is left
        return err

    def test_tool_fails(self):
        err = self.failing(mlir_opt_19="echo the seventh pass is unhappy >&2; exit 3")
        self.assertIn("mlir-opt-19 exited with 3: the seventh pass is unhappy", err)

    def test_tool_dies(self):
        self.assertIn("llc-19 died of signal", self.failing(llc_19="kill -SEGV $$"))

    def test_tool_hangs(self):
        err = self.failing(timeout=1, opt_19="sleep 1000")
        self.assertIn("opt-19 took more than 1 seconds", err)

    def test_tool_writes_nothing(self):
        self.assertIn("wrote no output", self.failing(mlir_translate_19="exit 0"))

    def test_tool_writes_rubbish(self):
        folder = self.tool_folder(ld='while [ "$1" != -o ]; do shift; done; echo no > "$2"')
        status, _, err = self.run_demo(self.ini(
            "mlir", f"mlir_cache = {self.cache}\nmlir_tools = {folder}"))
        self.assertNotEqual(status, 0)
        self.assertIn("cannot be loaded", err)


if __name__ == "__main__":
    if not all(map(shutil.which, SEARCHED)):
        print("skipped: the tools of mode = mlir are not installed")
        sys.exit(77)
    unittest.main(argv=sys.argv[:1], verbosity=2)
