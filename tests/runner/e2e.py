"""The end-to-end tests: functions test_* of tests/e2e/test_*.py, each in a process of its own.

A test is a function of one argument, the harness's Case. Decorators of harness.py say on which stores it
runs, how long it may take and whether it belongs to the quick half. It passes by returning, fails by raising,
and is skipped by raising harness.Skip with the reason; with CI=true harness.Missing is a failure.
"""

import glob
import importlib
import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor

from .process import end_group
from .results import FAILED
from .unit import SANITIZERS

TESTS = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
FOLDER = os.path.join(TESTS, "e2e")
CHILD = os.path.join(TESTS, "runner", "child.py")
alive = set()  # the processes of the tests that run
SLOWER = 3  # how much more time a test has under the sanitizers


def run(results, build, sanitized, quick=False, stores=None, names=(), jobs=0):
    label = "e2e-asan" if sanitized else "e2e"
    if not os.access(os.path.join(build, "ashlar"), os.X_OK):
        results.add(label, FAILED, detail=f"{build}/ashlar was not built")
        return
    sys.path.insert(0, FOLDER)
    import harness
    top = tempfile.mkdtemp(prefix="ashlar-e2e-")
    shared = os.path.join(top, "shared")
    before = len(results.failures)
    pool = ThreadPoolExecutor(jobs or (os.cpu_count() or 1) + 1)
    try:
        running = [pool.submit(run_one, results, label, top, {
            "module": module, "function": function.__name__, "store_kind": store, "shared": shared,
            "build": os.path.abspath(build), "sanitized": sanitized,
            "limit_s": harness.options_of(function).limit_s * (SLOWER if sanitized else 1)})
            for module, function, store in chosen(harness, quick, stores, names, sanitized)]
        for test in running:
            test.result()
    except BaseException:
        for process in list(alive):
            end_group(process)
        raise
    finally:
        pool.shutdown(cancel_futures=True)
        harness.stop_shared_stores(shared)
        if len(results.failures) > before:
            shutil.rmtree(shared, ignore_errors=True)
            results.say(f"what the failed tests left lies in {top}")
        else:
            shutil.rmtree(top, ignore_errors=True)


def chosen(harness, quick, stores, names, sanitized):
    """(module, function, store) of every test asked for; what may take long comes first."""
    found = list(wanted(harness, quick, stores, names, sanitized))
    return sorted(found, key=lambda test: -harness.options_of(test[1]).limit_s)


def wanted(harness, quick, stores, names, sanitized):
    for path in sorted(glob.glob(os.path.join(FOLDER, "test_*.py"))):
        module = os.path.basename(path)[:-3]
        functions = [f for name, f in vars(importlib.import_module(module)).items()
                     if name.startswith("test_") and callable(f) and f.__module__ == module]
        for function in functions:
            full = f"e2e.{module[5:]}.{function.__name__[5:]}"
            asked = [n.replace("e2e.test_", "e2e.") for n in names]
            if asked and not any(n == "e2e" or full == n or full.startswith(n + ".") for n in asked):
                continue
            options = harness.options_of(function)
            if sanitized and options.plain_only and not names:
                continue
            for store in options.stores or [None]:
                if quick and (not options.quick or store not in (None, "dir")):
                    continue
                if stores and store not in stores:
                    continue
                yield module, function, store


def run_one(results, label, top, test):
    """In a process group of its own, which is killed whole at the end."""
    short = f"{test['module'][5:]}.{test['function'][5:]}"
    name = f"{label}.{short}" + (f"[{test['store_kind']}]" if test["store_kind"] else "")
    folder = tempfile.mkdtemp(prefix=f"{short}-{test['store_kind'] or 'none'}-", dir=top)
    log_path = os.path.join(folder, "test.log")
    began = time.monotonic()
    with open(log_path, "wb") as log:
        process = subprocess.Popen(
            [sys.executable, CHILD, json.dumps({**test, "folder": folder})],
            stdin=subprocess.DEVNULL, stdout=log, stderr=log, start_new_session=True,
            env={**os.environ, **(SANITIZERS if test["sanitized"] else {})})
        alive.add(process)
        try:
            process.wait(test["limit_s"])
        except subprocess.TimeoutExpired:
            process.send_signal(signal.SIGUSR1)  # prints where it hangs
            time.sleep(0.5)
        finally:
            end_group(process)
            alive.discard(process)
    try:
        with open(os.path.join(folder, "result.json"), encoding="utf-8") as file:
            outcome, detail = json.load(file)
    except FileNotFoundError:
        outcome, detail = FAILED, f"did not end within {test['limit_s']} s"
    if outcome == FAILED:
        detail += logs(folder)
    else:
        shutil.rmtree(folder, ignore_errors=True)
    results.add(name, outcome, time.monotonic() - began, detail)


def logs(folder):
    """The test's own, and the end of each of its servers'."""
    text = ""
    for path in [os.path.join(folder, "test.log")] + sorted(glob.glob(os.path.join(folder, "server*.log"))):
        with open(path, encoding="utf-8", errors="replace") as file:
            text += f"\n---- end of {os.path.basename(path)}:\n{file.read()[-6000:]}"
    return text
