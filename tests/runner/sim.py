"""The simulator, and the fuzz targets: programs that are one test each."""

import os
import re
import time
from concurrent.futures import ThreadPoolExecutor

from .process import describe, run_limited
from .results import FAILED, PASSED, SKIPPED
from .unit import SANITIZERS


def run(results, build, seeds, limit_s=900):
    """The seeds in as many parts as there are processors."""
    program = os.path.join(build, "tests", "sim", "sim")
    if not os.access(program, os.X_OK):
        results.add("sim", SKIPPED, detail=f"{program} was not built")
        return
    began = time.monotonic()
    status, text = run_limited([program, "--seeds", str(seeds)], limit_s, SANITIZERS)
    name = f"sim: {seeds} seeds"
    took = time.monotonic() - began
    last = (text.strip().splitlines() or [""])[-1]
    if status == 0:
        results.add(name, PASSED, took, last)
    else:
        results.add(name, FAILED, took, f"{describe(status, limit_s)}\n{text}")


def fuzz(results, build, seconds):
    """Every program build-fuzz/fuzz/fuzz_*, with its corpus in fuzz/corpus where there is one."""
    folder = os.path.join(build, "fuzz")
    found = os.listdir(folder) if os.path.isdir(folder) else []
    names = sorted(name for name in found if re.fullmatch(r"fuzz_\w+", name))
    if not names:
        results.add("fuzz", SKIPPED, detail="no fuzz target was built")
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        list(pool.map(lambda name: fuzz_one(results, folder, name, seconds), names))


def fuzz_one(results, folder, name, seconds):
    began = time.monotonic()
    grown = os.path.join(folder, "grown-" + name)
    os.makedirs(grown, exist_ok=True)
    seeds = os.path.join("fuzz", "corpus", name)
    command = [os.path.join(folder, name), f"-max_total_time={seconds}", "-timeout=10",
               "-print_final_stats=1", f"-artifact_prefix={folder}/", grown]
    command += [seeds] if os.path.isdir(seeds) else []
    status, text = run_limited(command, seconds + 120, SANITIZERS)
    took = time.monotonic() - began
    if status == 0:
        runs = re.search(r"number_of_executed_units:\s*(\d+)", text)
        results.add(name, PASSED, took, f"{runs.group(1)} runs" if runs else "")
    else:
        results.add(name, FAILED, took, f"{describe(status, seconds + 120)}\n{text}")
