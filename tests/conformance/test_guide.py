#!/usr/bin/env python3
# SPDX-FileCopyrightText: 2026 The q35 authors
# SPDX-License-Identifier: MIT
"""Runs every command of plugins/README.md against an installed q35, outside the tree.

usage: test_guide.py MESON BUILD_ROOT README PREFIX LIBDIR
"""
import os
import re
import subprocess
import sys
import tempfile


def main():
    meson, build, readme, prefix, libdir = sys.argv[1:]
    with open(readme, encoding="utf-8") as f:
        blocks = re.findall(r"^```sh( fails)?\n(.*?)^```$", f.read(), re.M | re.S)
    assert len(blocks) >= 6, "the guide has lost its commands"
    with tempfile.TemporaryDirectory() as folder:
        root = os.path.join(folder, "root")
        subprocess.run(meson.split() + ["install", "--no-rebuild", "--quiet", "-C", build,
                                        "--destdir", root], check=True, stdout=subprocess.DEVNULL)
        installed = root + prefix
        env = dict(os.environ)
        env["PATH"] = installed + "/bin:" + env["PATH"]
        env["PKG_CONFIG_SYSROOT_DIR"] = root
        env["PKG_CONFIG_PATH"] = installed + "/" + libdir + "/pkgconfig"
        script = "set -eu\n"
        for fails, text in blocks:
            script += "echo '+ block'\n"
            if fails:
                script += "if { %s\n}; then echo 'this should have failed'; exit 1; fi\n" % text
            else:
                script += text
        work = os.path.join(folder, "work")
        os.mkdir(work)
        done = subprocess.run(["sh"], input=script, text=True, cwd=work, env=env,
                              stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
        print(done.stdout)
        if done.returncode:
            return "the guide's commands ended with %d" % done.returncode
        for expected in ("rule product", "it conforms", "certified: "):
            if expected not in done.stdout:
                return "the guide's commands did not print '%s'" % expected
        # The same plugin through meson, and no file outside the folder was needed.
        built = subprocess.run(meson.split() + ["setup", "build"], cwd=os.path.join(work, "mine"),
                               env=env, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
        ninja = subprocess.run(["ninja", "-C", "build"], cwd=os.path.join(work, "mine"), env=env,
                               stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
        if built.returncode or ninja.returncode:
            return "meson does not build the new plugin:\n" + built.stdout + ninja.stdout
    return 0


sys.exit(main())
