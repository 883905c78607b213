"""The end-to-end tests: functions test_* of tests/e2e/test_*.py, each in a process of its own.

A test is a function of one argument, the harness's Case. Decorators of harness.py say on which stores it
runs, how long it may take and whether it belongs to the quick half. It passes by returning, fails by raising,
and is skipped by raising harness.Skip with the reason; with CI=true what is missing is a failure.
"""

import glob
import importlib
import multiprocessing
import os
import shutil
import signal
import sys
import tempfile
import time
import traceback

from .results import FAILED, PASSED, SKIPPED
from .unit import SANITIZERS

FOLDER = os.path.join(os.path.dirname(os.path.dirname(os.path.abspath(__file__))), "e2e")


def run(results, build, sanitized, quick=False, stores=None, names=()):
    label = "e2e-asan" if sanitized else "e2e"
    if not os.access(os.path.join(build, "ashlar"), os.X_OK):
        results.add(label, SKIPPED, detail=f"{build}/ashlar was not built")
        return
    sys.path.insert(0, FOLDER)
    import harness
    top = tempfile.mkdtemp(prefix="ashlar-e2e-")
    os.environ.update(SANITIZERS if sanitized else {})
    try:
        for module, function, store in chosen(harness, quick, stores, names, sanitized):
            short = f"{module[5:]}.{function.__name__[5:]}"
            name = f"{label}.{short}" + (f"[{store}]" if store else "")
            options = harness.options_of(function)
            folder = tempfile.mkdtemp(prefix=f"{short}-{store or 'none'}-", dir=top)
            case = harness.Case(build=os.path.abspath(build), sanitized=sanitized, store_kind=store,
                                folder=folder, shared=os.path.join(top, "servers"))
            outcome, seconds, detail = run_one(function, case, options.limit_s * (3 if sanitized else 1))
            results.add(name, outcome, seconds, detail)
            if outcome != FAILED:
                shutil.rmtree(folder, ignore_errors=True)
    finally:
        harness.stop_shared_stores(os.path.join(top, "servers"))
        if results.failures:
            results.say(f"what the failed tests left lies in {top}")
        else:
            shutil.rmtree(top, ignore_errors=True)


def chosen(harness, quick, stores, names, sanitized):
    """(module, function, store) of every test asked for, in the order of the files."""
    for path in sorted(glob.glob(os.path.join(FOLDER, "test_*.py"))):
        module = os.path.basename(path)[:-3]
        functions = [f for name, f in vars(importlib.import_module(module)).items()
                     if name.startswith("test_") and callable(f) and f.__module__ == module]
        for function in functions:
            full = f"e2e.{module[5:]}.{function.__name__[5:]}"
            wanted = [n.replace("e2e.test_", "e2e.") for n in names]
            if wanted and not any(n == "e2e" or full == n or full.startswith(n + ".") for n in wanted):
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


def run_one(function, case, limit_s):
    """Forks; the child leads a group of its own, which is killed whole at the end."""
    log = os.path.join(case.folder, "test.log")
    inbox, outbox = multiprocessing.Pipe(duplex=False)
    began = time.monotonic()
    sys.stdout.flush()
    pid = os.fork()
    if pid == 0:
        child(function, case, outbox, log)
    os.setpgid(pid, pid)
    outbox.close()
    outcome, detail = FAILED, f"did not end within {limit_s} s"
    try:
        if inbox.poll(limit_s):
            outcome, detail = inbox.recv()
        else:
            os.kill(pid, signal.SIGUSR1)  # prints where it hangs
            time.sleep(0.5)
    except EOFError:
        detail = "the test's process died"
    finally:
        os.killpg(pid, signal.SIGKILL)
        os.waitpid(pid, 0)
    if outcome == FAILED:
        with open(log, encoding="utf-8", errors="replace") as text:
            detail += "\n---- its log, and its servers':\n" + text.read()
        for server_log in sorted(glob.glob(os.path.join(case.folder, "server*.log"))):
            with open(server_log, encoding="utf-8", errors="replace") as text:
                detail += f"\n---- end of {os.path.basename(server_log)}:\n" + text.read()[-6000:]
    return outcome, time.monotonic() - began, detail


def child(function, case, outbox, log):
    import faulthandler
    import harness
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    out = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o644)
    os.dup2(out, 1)
    os.dup2(out, 2)
    os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
    sys.stdout = os.fdopen(1, "w", buffering=1, closefd=False)
    sys.stderr = sys.stdout
    faulthandler.register(signal.SIGUSR1, all_threads=True)
    try:
        note = function(case)
        case.close()
        answer = (PASSED, note if isinstance(note, str) else "")
    except harness.Skip as reason:
        missing_in_ci = os.environ.get("CI") == "true"
        answer = (FAILED if missing_in_ci else SKIPPED, str(reason))
    except BaseException:
        answer = (FAILED, traceback.format_exc())
    outbox.send(answer)
    sys.stdout.flush()
    os._exit(0)
