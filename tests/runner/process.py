"""Runs one command in a process group of its own, with a limit, and leaves nothing of it behind."""

import os
import signal
import subprocess
import tempfile


def run_limited(command, limit_s, env=None, cwd=None):
    """(exit status or None when the limit was reached, output). Output is stdout and stderr together."""
    with tempfile.TemporaryFile() as out:
        process = subprocess.Popen(command, stdout=out, stderr=subprocess.STDOUT, stdin=subprocess.DEVNULL,
                                   env={**os.environ, **(env or {})}, cwd=cwd, start_new_session=True)
        try:
            status = process.wait(limit_s)
        except subprocess.TimeoutExpired:
            status = None
        finally:
            end_group(process)
        out.seek(0)
        text = out.read().decode("utf-8", "replace")
    return status, text


def end_group(process):
    """Kills whatever is left of the group that `process` leads."""
    try:
        os.killpg(process.pid, signal.SIGKILL)
    except ProcessLookupError:
        pass
    process.wait()


def describe(status, limit_s):
    if status is None:
        return f"did not end within {limit_s} s"
    if status < 0:
        return f"died of {signal.Signals(-status).name}"
    return f"ended with status {status}"
