"""What an end-to-end test is given: a Case with a store and servers; and the decorators that describe it.

    @on("dir", "rgw", "minio")      once on each of these stores (without: no store is prepared)
    @limit(300)                     seconds it may take
    @quick                          part of `make check`
    @plain_only                     not run again under the sanitizers, where it would only be slow
    def test_something(case): ...   returns, perhaps a figure to print; raises; or raises Skip

Everything a test starts dies with it, and what it wrote is removed when it passed.
"""

import os
import re
import subprocess
import time

import stores
from server import Server
from stores import Missing, Skip

TOP = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
MIB = 1 << 20
GIB = 1 << 30

__all__ = ["Case", "GIB", "MIB", "Missing", "Skip", "TOP", "limit", "on", "options_of", "plain_only", "quick",
           "stop_shared_stores", "until"]


class Options:
    def __init__(self):
        self.stores = []
        self.limit_s = 120
        self.quick = False
        self.plain_only = False


def options_of(function):
    if not hasattr(function, "test_options"):
        function.test_options = Options()
    return function.test_options


def on(*kinds):
    def mark(function):
        options_of(function).stores = list(kinds)
        return function
    return mark


def limit(seconds):
    def mark(function):
        options_of(function).limit_s = seconds
        return function
    return mark


def quick(function):
    options_of(function).quick = True
    return function


def plain_only(function):
    options_of(function).plain_only = True
    return function


def stop_shared_stores(folder):
    stores.stop_shared(folder)


def until(condition, seconds, what):
    """Waits for the condition to hold; what it returned."""
    deadline = time.monotonic() + seconds
    while True:
        value = condition()
        if value:
            return value
        if time.monotonic() > deadline:
            raise AssertionError(f"not within {seconds} s: {what}")
        time.sleep(0.05)


SANITIZER = re.compile(r"ERROR: \w+Sanitizer|runtime error:|Assertion .* failed|assertion failed")


class Case:
    """One run of one test."""

    def __init__(self, build, sanitized, store_kind, folder, shared):
        self.build = build
        self.sanitized = sanitized
        self.store_kind = store_kind
        self.folder = folder
        self.shared = shared
        self.servers = []
        self.opened = []
        self._store = None
        for name in [n for n in os.environ if n.startswith(("ASHLAR_", "AWS_"))]:
            del os.environ[name]

    @property
    def store(self):
        """The store of this test, empty at first, made when it is first asked for."""
        if not self._store:
            self._store = self.new_store()
        return self._store

    def new_store(self, private=False):
        """Another one of the same kind; private: with a server of its own, which the test may stop."""
        made = stores.open_store(self.store_kind or "dir", self.folder, self.shared, private)
        self.opened.append(made)
        return made

    def server(self, *arguments, store=None, **options):
        """A server that is ready. See Server for the options."""
        started = Server(self, store or self.store, arguments, **options)
        self.servers.append(started)
        started.start()
        return started

    def program(self, build=None):
        """The path of ashlar; build="faults" is the one that can be told to crash at a mark."""
        folder = self.build
        if build == "faults" and not self.sanitized:  # build-asan has the faults compiled in
            folder = os.path.join(os.path.dirname(self.build), "build-faults")
        path = os.path.join(folder, "ashlar")
        if not os.access(path, os.X_OK):
            raise Missing(f"{path} was not built")
        return path

    def ashlar(self, *arguments, store=None, status=0, timeout=120, env=None, stdin=None):
        """Runs a command to its end; what it wrote (stdout). `status` None: any; the result object then."""
        store = store or self.store
        command = [self.program(), *map(str, arguments)]
        env = {**os.environ, "ASHLAR_STORE": store.url, **store.env, **(env or {})}
        done = subprocess.run(command, env=env, stdin=stdin or subprocess.DEVNULL, capture_output=True,
                              text=True, timeout=timeout)
        print(f"$ ashlar {' '.join(map(str, arguments))} -> {done.returncode}")
        print(done.stdout + done.stderr, end="")
        if SANITIZER.search(done.stderr):
            raise AssertionError(f"ashlar {arguments[0]}: {done.stderr[-4000:]}")
        if status is None:
            return done
        assert done.returncode == status, \
            f"ashlar {arguments}: status {done.returncode}, not {status}: {done.stderr}"
        return done.stdout

    def path(self, name):
        return os.path.join(self.folder, name)

    def close(self):
        for server in self.servers:
            server.kill()
            found = SANITIZER.search(server.log())
            assert not found, f"{server.log_path}: {found.group()}"
        for store in self.opened:
            store.close()
