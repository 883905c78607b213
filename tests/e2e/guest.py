"""The small Linux guest with a kernel NBD client (tools/nbdguest), steered from a test."""

import os
import re
import shutil
import subprocess
import threading

from harness import TOP, until
from stores import Missing

NBDGUEST = os.path.join(TOP, "tools", "nbdguest")


class Guest:
    """Runs a script in the guest. Its output goes to `lines`; events to the event folder."""

    def __init__(self, case, script, *arguments, options=(), timeout=600, name="guest"):
        if not shutil.which("qemu-system-x86_64"):
            raise Missing("qemu-system-x86_64 is not installed")
        self.events = case.path(f"{name}-events")
        os.makedirs(self.events)
        self.lines = []
        self.process = subprocess.Popen(
            [NBDGUEST, "run", "--event-dir", self.events, "--timeout", str(timeout), *options, script,
             *map(str, arguments)],
            stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
        self.reader = threading.Thread(target=self.read, daemon=True)
        self.reader.start()

    def read(self):
        for line in self.process.stdout:
            self.lines.append(line)
            print(f"guest: {line}", end="", flush=True)

    def wait_event(self, name, seconds=300):
        """Until the script says @event NAME; the text behind it."""
        path = os.path.join(self.events, name)

        def there():
            if os.path.exists(path):
                return True
            assert self.process.poll() is None, "the guest ended:\n" + "".join(self.lines[-30:])
            return False

        until(there, seconds, f"the guest's event {name}")
        with open(path, encoding="utf-8") as text:
            return text.read()

    def go(self, name, text=""):
        """Lets the script's host-wait NAME return."""
        path = os.path.join(self.events, name)
        with open(path + ".new", "w", encoding="utf-8") as file:
            file.write(text)
        os.rename(path + ".new", path + ".go")

    def end(self, seconds=300):
        """Waits for the script; its status and output."""
        status = self.process.wait(seconds)
        self.reader.join(10)
        return status, "".join(self.lines)

    def kill(self):
        """SIGKILL for QEMU, which takes the guest's memory with it; only then for the script around it."""
        for pid in children(self.process.pid):
            with open(f"/proc/{pid}/comm", encoding="utf-8") as comm:
                if comm.read().startswith("qemu-system"):
                    os.kill(pid, 9)
        self.process.wait(30)


def children(pid):
    with open(f"/proc/{pid}/task/{pid}/children", encoding="ascii") as text:
        return [int(word) for word in text.read().split()]


def bundle(program, folder):
    """The program with every library it is linked with, to run elsewhere as FOLDER/run ARGUMENTS."""
    os.makedirs(folder)
    shutil.copy(program, os.path.join(folder, "program"))
    listed = subprocess.run(["ldd", program], check=True, stdout=subprocess.PIPE, text=True).stdout
    loader = None
    for line in listed.splitlines():
        found = re.search(r"(/\S+) \(0x", line)
        if found:
            shutil.copy(found.group(1), folder)
            if "ld-linux" in found.group(1):
                loader = os.path.basename(found.group(1))
    with open(os.path.join(folder, "run"), "w", encoding="ascii") as file:
        file.write("#!/bin/sh\nhere=${0%/*}\n"
                   f'exec "$here/{loader}" --library-path "$here" "$here/program" "$@"\n')
    os.chmod(os.path.join(folder, "run"), 0o755)
    return folder
