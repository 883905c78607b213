"""The unit tests: each program that Meson knows, counted by the test cases in its TAP output."""

import json
import os
import re
import subprocess
import time
from concurrent.futures import ThreadPoolExecutor

from .process import describe, run_limited
from .results import FAILED, PASSED, SKIPPED

SANITIZERS = {
    "ASAN_OPTIONS": "detect_leaks=1:detect_stack_use_after_return=1:strict_string_checks=1",
    "UBSAN_OPTIONS": "halt_on_error=1:print_stacktrace=1",
}
CASE = re.compile(r"^(not ok|ok) \d+ (?:# (SKIP) |- )(.*)$")  # as cmocka writes it


def programs(build):
    """What `meson test --suite unit` would run, as Meson tells it."""
    command = ["meson", "introspect", "--tests", build]
    listed = json.loads(subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True).stdout)
    return [program for program in listed if any(suite.endswith("unit") for suite in program["suite"])]


def run(results, build, label, only=None):
    chosen = [p for p in programs(build) if not only or p["name"] in only]
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        list(pool.map(lambda program: run_program(results, program, label), chosen))


def skipped(results, name, text):
    """What the program said beside its TAP lines is the reason."""
    said = [line for line in text.splitlines() if line and not re.match(r"(not )?ok |1\.\.|#", line)]
    reason = said[-1] if said else "it cannot run here"
    results.add(name, SKIPPED, detail=reason)


def run_program(results, program, label):
    name = f"{label}/{program['name']}"
    limit_s = max(60, program.get("timeout") or 30) * 2
    began = time.monotonic()
    status, text = run_limited(program["cmd"], limit_s, {**SANITIZERS, **program.get("env", {})})
    took = time.monotonic() - began
    cases = [m for m in map(CASE.match, text.splitlines()) if m]
    passed = failed = 0
    for case in cases:
        verdict, skip, case_name = case.groups()
        full = f"{name}: {case_name}"
        if skip:
            skipped(results, full, text)
        elif verdict == "ok":
            passed += 1
            results.add(full, PASSED, quiet=True)
        else:
            failed += 1
            results.add(full, FAILED, detail=text)
    if status != 0 and not failed:
        failed += 1
        results.add(name, FAILED, took, f"{describe(status, limit_s)}\n{text}")
    if status == 0 and not cases:
        if program.get("protocol") == "tap":
            results.add(name, FAILED, took, f"reported no test case\n{text}")
        else:
            passed += 1
            results.add(name, PASSED, quiet=True)
    results.say(f"{'FAILED' if failed else 'passed':7} {name}: {passed} cases ({took:.1f} s)")
