"""House rules, formatting and clang-tidy: three tests."""

import glob
import os
import shutil
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor

from .results import FAILED, PASSED, SKIPPED


def run(results, build, quick):
    command(results, "tidy: house rules", [sys.executable, "tests/tidy.py"])
    sources = sorted(f for folder in ("src", "tests", "fuzz", "bench")
                     for f in glob.glob(f"{folder}/**/*.[ch]", recursive=True))
    if shutil.which("clang-format"):
        command(results, "tidy: clang-format", ["clang-format", "--dry-run", "--Werror"] + sources)
    else:
        results.add("tidy: clang-format", SKIPPED, detail="clang-format is not installed")
    if quick:
        return
    if not shutil.which("clang-tidy"):
        results.add("tidy: clang-tidy", SKIPPED, detail="clang-tidy is not installed")
        return
    clang_tidy(results, build, [f for f in sources if f.startswith("src/") and f.endswith(".c")])


def clang_tidy(results, build, sources):
    began = time.monotonic()

    def one(source):
        done = subprocess.run(["clang-tidy", "--quiet", "-p", build, source], capture_output=True, text=True)
        return "" if done.returncode == 0 else done.stdout + done.stderr

    with ThreadPoolExecutor(os.cpu_count()) as pool:
        complaints = "".join(pool.map(one, sources))
    results.add("tidy: clang-tidy", FAILED if complaints else PASSED, time.monotonic() - began, complaints)


def command(results, name, argv):
    began = time.monotonic()
    done = subprocess.run(argv, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    ok = done.returncode == 0
    if ok and done.stdout.strip():
        results.say(done.stdout.rstrip())
    results.add(name, PASSED if ok else FAILED, time.monotonic() - began, "" if ok else done.stdout)
