"""One end-to-end test in a process of its own: child.py JSON. Leaves result.json in the test's folder."""

import faulthandler
import importlib
import json
import os
import signal
import sys
import traceback

from results import FAILED, PASSED, SKIPPED  # from this file's folder

sys.path.insert(0, os.path.join(os.path.dirname(os.path.dirname(os.path.abspath(__file__))), "e2e"))

import harness  # noqa: E402


def outcome_of(test):
    case = harness.Case(test["build"], test["sanitized"], test["store_kind"], test["folder"], test["shared"])
    function = getattr(importlib.import_module(test["module"]), test["function"])
    try:
        note = function(case)
        case.close()
        return PASSED, note if isinstance(note, str) else ""
    except harness.Missing as reason:
        return FAILED if os.environ.get("CI") == "true" else SKIPPED, str(reason)
    except harness.Skip as reason:
        return SKIPPED, str(reason)
    except BaseException:
        return FAILED, traceback.format_exc()


def main():
    faulthandler.register(signal.SIGUSR1, all_threads=True)
    sys.stdout.reconfigure(line_buffering=True)
    test = json.loads(sys.argv[1])
    result = outcome_of(test)
    path = os.path.join(test["folder"], "result.json")
    with open(path + ".new", "w", encoding="utf-8") as file:
        json.dump(result, file)
    os.rename(path + ".new", path)
    os._exit(0)  # threads of a test that failed are not waited for


main()
