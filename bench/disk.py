"""Rows about the directory store."""

import json
import os
import secrets
import shutil
import subprocess

import peers

AMOUNT = 1 << 30


class Disk:
    def __init__(self, folder, build, seconds):
        self.folder, self.build = folder, build
        self.servers = []

    def stop(self):
        for server in self.servers:
            server.stop()

    def rows(self):
        yield {"name": "sustained sequential write of unique data, directory store", "unit": "B/s",
               "higher_is_better": True, "bars": [("bare hashing and storing", 0.8)],
               "contenders": {"ashlar": self.ashlar, "bare hashing and storing": self.bare}}

    def ashlar(self):
        """At its default buffers, everything flushed at the end, on a store of its own each time."""
        folder = os.path.join(self.folder, secrets.token_hex(4))
        os.mkdir(folder)
        server = peers.Ashlar(folder, f"{self.build}/ashlar", options=("--cache-size", "256M"))
        self.servers = [server]
        try:
            done = subprocess.run(
                [f"{self.build}/bench/nbd_load", server.address, "disk", "op=write", "bytes=1M", "depth=8",
                 "order=sequential", f"count={AMOUNT >> 20}", "last_flush=1"],
                capture_output=True, text=True, check=True, timeout=600)
        finally:
            server.stop()
            self.servers = []
            shutil.rmtree(folder)
        return json.loads(done.stdout)["bytes_per_s"]

    def bare(self):
        folder = os.path.join(self.folder, "bare")
        os.mkdir(folder)
        done = subprocess.run([f"{self.build}/bench/bare_store", folder, str(AMOUNT), str(os.cpu_count())],
                              capture_output=True, text=True, check=True, timeout=600)
        shutil.rmtree(folder)
        return json.loads(done.stdout)["bytes_per_s"]
