"""The simulator, and the fuzz targets: programs that are one test each."""

import os
import re
import time
from concurrent.futures import ThreadPoolExecutor

from .process import describe, run_limited
from .results import FAILED, PASSED, SKIPPED
from .unit import SANITIZERS


def run(results, build, label, seeds, limit_s=900):
    """The directed tests by name, random runs, and short scripts crashed everywhere."""
    folder = os.path.join(build, "tests", "sim")
    program = os.path.join(folder, "sim")
    if not os.access(program, os.X_OK):
        results.add(label, SKIPPED, detail=f"{program} was not built")
        return
    status, text = run_limited([program, "--scenario", "all"], limit_s, SANITIZERS)
    named = re.findall(r"^(ok|FAILED) +(.+)$", text, re.M)
    for verdict, name in named:
        outcome, detail = (PASSED, "") if verdict == "ok" else (FAILED, text)
        results.add(f"{label}/{name}", outcome, detail=detail, quiet=True)
    results.say(f"{'passed' if status == 0 else 'FAILED':7} {label}: {len(named)} directed tests")
    if not named or (status != 0 and all(verdict == "ok" for verdict, _ in named)):
        results.add(f"{label}: directed tests", FAILED, detail=f"{describe(status, limit_s)}\n{text}")
    one(results, f"{label}: the models find planted mistakes", [os.path.join(folder, "sim_toy")], limit_s)
    one(results, f"{label}: {seeds} seeds", [program, "--seeds", str(seeds)], limit_s)
    one(results, f"{label}: a crash at every change", [program, "--exhaustive", "--seeds", "1"], limit_s)


def one(results, name, command, limit_s):
    began = time.monotonic()
    status, text = run_limited(command, limit_s, SANITIZERS)
    took = time.monotonic() - began
    if status == 0:
        results.add(name, PASSED, took, (text.strip().splitlines() or [""])[-1])
    else:
        results.add(name, FAILED, took, f"{describe(status, limit_s)}\n{text}")


def fuzz(results, build, seconds):
    """Every program build-fuzz/fuzz/fuzz_*; its corpus, grown-*, begins with what the build wrote."""
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
    command = [os.path.join(folder, name), f"-max_total_time={seconds}", "-timeout=10",
               "-print_final_stats=1", f"-artifact_prefix={folder}/", grown]
    status, text = run_limited(command, seconds + 120, SANITIZERS)
    took = time.monotonic() - began
    if status == 0:
        runs = re.search(r"number_of_executed_units:\s*(\d+)", text)
        results.add(name, PASSED, took, f"{runs.group(1)} runs" if runs else "")
    else:
        results.add(name, FAILED, took, f"{describe(status, seconds + 120)}\n{text}")
