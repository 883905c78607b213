"""Rows about the wire and the cache: one server of each kind, the same work on each, in turns."""

import json
import subprocess
import time

import peers

MIB = 1 << 20
PART = 256 * MIB  # of the export: what is read fits every cache


class Wire:
    """All servers, started once, with content in the part that is read."""

    def __init__(self, folder, build, seconds):
        self.load_program = f"{build}/bench/nbd_load"
        self.seconds = seconds
        self.servers = {}
        try:
            for make in (lambda: peers.Ashlar(folder, f"{build}/ashlar"), lambda: peers.NbdkitMemory(folder),
                         lambda: peers.NbdkitFile(folder), lambda: peers.QemuNbd(folder),
                         lambda: peers.NbdServer(folder),
                         lambda: peers.BareLoop(folder, f"{build}/bench/bare_loop")):
                server = make()
                self.servers[server.name] = server
            for name in self.servers:
                self.load(name, "unix", op="write", bytes=MIB, depth=8, order="sequential", range=PART,
                          count=PART // MIB, last_flush=1)
        except BaseException:
            self.stop()
            raise

    def stop(self):
        for server in self.servers.values():
            server.stop()

    def load(self, name, transport, **options):
        server = self.servers[name]
        address, pid = server.reached_by(transport)
        if "count" not in options:
            options.setdefault("seconds", self.seconds)
        words = [f"{key}={value}" for key, value in {**options, "pid": pid}.items()]
        done = subprocess.run([self.load_program, address, server.export, *words], capture_output=True,
                              text=True, timeout=300)
        if done.returncode:
            raise RuntimeError(f"{name}: {done.stderr.strip()}")
        return json.loads(done.stdout)

    def rows(self):
        random_reads = {"op": "read", "bytes": 4096, "depth": 64, "range": PART}
        for transport in ("unix", "TCP"):
            yield self.row(f"4 KiB random reads, 64 in flight, {transport}", transport, random_reads,
                           ("operations_per_s", "/s"), [("best peer", 2.5), ("bare loop", 0.8)])
            yield self.row(f"server CPU for each of those, {transport}", transport, random_reads,
                           ("server_cpu_us", "us"), [("best peer", 0.4)])
        absorbed = {"op": "write", "bytes": 4096, "depth": 64, "from": PART, "range": 64 * MIB}
        yield self.row("4 KiB random writes absorbed, 64 in flight", "unix", absorbed,
                       ("operations_per_s", "/s"), [("best peer", 1.8)])
        large = {"op": "read", "bytes": 128 << 10, "depth": 16, "range": PART}
        yield self.row("128 KiB random reads, 16 in flight", "unix", large, ("bytes_per_s", "B/s"),
                       [("best peer", 1.4)])
        absorbed = {"op": "write", "bytes": 128 << 10, "depth": 16, "from": 2 * PART, "range": PART,
                    "order": "sequential", "count": PART // (128 << 10)}
        yield self.row("128 KiB writes absorbed, 16 in flight", "unix", absorbed, ("bytes_per_s", "B/s"),
                       [("best peer", 0.95)])
        single = {"op": "read", "bytes": 4096, "depth": 1, "range": PART}
        yield self.row("4 KiB read, one in flight: median", "unix", single, ("p50_us", "us"),
                       [("best peer", 1 / 0.95)])
        yield self.row("4 KiB read, one in flight: 99th percentile", "unix", single, ("p99_us", "us"),
                       [("best peer", 1 / 0.95)])
        yield self.copy_row("nbdcopy of 1 GiB out", lambda uri: ("nbdcopy", uri, "null:"), 1.2)
        yield self.copy_row("nbdcopy of 1 GiB in", lambda uri: ("nbdcopy", self.image(), uri), 0.95)

    def row(self, name, transport, options, metric, bars):
        key, unit = metric
        return {"name": name, "unit": unit, "higher_is_better": unit != "us", "bars": bars,
                "contenders": {server: lambda server=server: self.load(server, transport, **options)[key]
                               for server in self.servers}}

    def image(self):
        return self.servers["nbdkit file"].folder + "/image"

    def copy_row(self, name, command, bar):
        def seconds(server):
            began = time.monotonic()
            subprocess.run(command(server.uri), check=True, capture_output=True, timeout=300)
            return time.monotonic() - began
        return {"name": name, "unit": "s", "higher_is_better": False, "bars": [("best peer", 1 / bar)],
                "contenders": {n: lambda s=s: seconds(s) for n, s in self.servers.items()}}
