"""A server under test: `ashlar serve` as a process that can be measured, stopped, killed, started again."""

import os
import re
import select
import signal
import socket
import subprocess
import urllib.parse


class Server:
    """arguments: more of them for serve. tcp: listen on a free port of 127.0.0.1 as well as on a unix socket.
    env: more variables. build: "faults" for the one that can crash at a mark. auto_create: a size or None.
    wrapper: a command that runs it, given the server's as arguments."""

    def __init__(self, case, store, arguments=(), tcp=False, env=None, build=None, auto_create=None, url=None,
                 log_level="info", name=None, wrapper=()):
        self.name = name or f"server{len(case.servers)}"
        self.log_path = case.path(f"{self.name}.log")
        self.socket_path = case.path(f"{self.name}.sock")
        self.program = case.program(build)
        self.store = store
        self.url = url or store.url
        self.env = env or {}
        self.wrapper = list(wrapper)
        self.port = None
        self.process = None
        self.arguments = ["--log-level", log_level, "--listen", f"unix:{self.socket_path}"]
        if tcp:
            self.arguments += ["--listen", f"127.0.0.1:{free_port()}"]
        if auto_create:
            self.arguments += ["--auto-create", str(auto_create)]
        self.arguments += map(str, arguments)

    def start(self, env=None, timeout=60):
        """Returns once the server says that it is ready."""
        reading, writing = os.pipe()
        command = [*self.wrapper, self.program, "--store", self.url, "serve", "--ready-fd", str(writing),
                   *self.arguments]
        with open(self.log_path, "ab") as log:
            log.write(f"---- {' '.join(command)}\n".encode())
            log.flush()
            self.process = subprocess.Popen(
                command, env={**os.environ, **self.store.env, **self.env, **(env or {})}, pass_fds=[writing],
                stdin=subprocess.DEVNULL, stdout=log, stderr=log)
        os.close(writing)
        try:
            ready, _, _ = select.select([reading], [], [], timeout)
            said = os.fdopen(reading, closefd=False).read() if ready else None
        finally:
            os.close(reading)
        if said:
            found = re.search(r"nbd://127\.0\.0\.1:(\d+)/", said)
            self.port = int(found.group(1)) if found else None
            return
        if said is None:
            self.process.send_signal(signal.SIGKILL)
        status = self.process.wait()
        how = "did not get ready" if said is None else f"ended with status {status}"
        raise AssertionError(f"the server {how}:\n{self.log()[-3000:]}")

    def uri(self, export="disk"):
        return f"nbd+unix:///{urllib.parse.quote(export)}?socket={self.socket_path}"

    def tcp_uri(self, export="disk"):
        return f"nbd://127.0.0.1:{self.port}/{urllib.parse.quote(export)}"

    def alive(self):
        return self.process is not None and self.process.poll() is None

    def kill(self):
        """SIGKILL, if it runs."""
        if self.alive():
            self.process.kill()
        if self.process:
            self.process.wait()

    def stop(self, timeout=60):
        """SIGTERM and a clean end."""
        self.process.terminate()
        try:
            status = self.process.wait(timeout)
        except subprocess.TimeoutExpired:
            raise AssertionError(f"the server did not end within {timeout} s of SIGTERM") from None
        assert status == 0, f"the server ended with status {status}:\n{self.log()[-3000:]}"

    def restart(self):
        self.stop()
        self.start()

    def wait_for_death(self, timeout):
        try:
            return self.process.wait(timeout)
        except subprocess.TimeoutExpired:
            raise AssertionError(f"the server still runs after {timeout} s") from None

    def memory(self, field="VmRSS"):
        """Resident bytes; VmHWM is the most there ever were."""
        with open(f"/proc/{self.process.pid}/status", encoding="ascii") as lines:
            for line in lines:
                if line.startswith(field + ":"):
                    return int(line.split()[1]) * 1024
        raise AssertionError(f"no {field}")

    def log(self):
        with open(self.log_path, encoding="utf-8", errors="replace") as text:
            return text.read()


def free_port():
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        return s.getsockname()[1]
