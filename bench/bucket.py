"""Rows about a bucket: Ceph's gateway on this machine, and the same one seen through the latency relay."""

import concurrent.futures
import contextlib
import json
import os
import secrets
import subprocess
import time

import peers
import stores

MIB = 1 << 20
OBJECT = 4 * MIB
AMOUNT = 512 * MIB
DELAY_MS, MBIT = 10, 200  # each way: 20 ms a round trip


class Bucket:
    def __init__(self, folder, build, seconds):
        self.folder, self.build, self.seconds = folder, build, seconds
        self.gateway = stores.Daemon("rgw", os.path.join(folder, "rgw"))
        self.env = {k: v for k, v in self.gateway.env.items() if k != "AWS_CA_BUNDLE"}
        port = peers.free_port()
        self.relay = subprocess.Popen(
            [f"{build}/bench/latency_relay", f"127.0.0.1:{port}", self.gateway.endpoint.split("//")[1],
             str(DELAY_MS), str(MBIT)], stdin=subprocess.PIPE)
        peers.wait_for(port, self.relay)
        self.endpoints = {"RGW": self.gateway.endpoint, "relay": f"http://127.0.0.1:{port}"}

    def stop(self):
        self.relay.stdin.close()
        self.relay.wait()
        self.gateway.call("destroy")

    def rows(self):
        for where in self.endpoints:
            amount = AMOUNT if where == "RGW" else AMOUNT // 4
            yield {"name": f"sequential write of unique data, {where}", "unit": "B/s",
                   "higher_is_better": True, "bars": [("bare PUTs", 0.9)],
                   "contenders": {"ashlar": lambda w=where, a=amount: self.sequential_write(w, a),
                                  "bare PUTs": lambda w=where, a=amount: self.bare("put", w, a),
                                  "boto3 PUTs": lambda w=where, a=amount: self.boto3("put", w, a)}}
        for where in self.endpoints:
            amount = AMOUNT if where == "RGW" else AMOUNT // 4
            yield {"name": f"cold sequential read, {where}", "unit": "B/s", "higher_is_better": True,
                   "bars": [("bare GETs", 0.9)],
                   "contenders": {"ashlar": lambda w=where, a=amount: self.sequential_read(w, a),
                                  "bare GETs": lambda w=where, a=amount: self.bare("get", w, a),
                                  "boto3 GETs": lambda w=where, a=amount: self.boto3("get", w, a)}}
        yield {"name": "4 KiB write and flush, one at a time, relay: time of the flush", "unit": "us",
               "higher_is_better": False, "bars": [("one bare PUT", 1.2)],
               "contenders": {"ashlar": lambda: self.flushes("relay", 1)["flush_p50_us"],
                              "one bare PUT": lambda: self.one_put("relay")}}
        yield {"name": "4 KiB write and flush, 32 connections at once, relay", "unit": "/s",
               "higher_is_better": True, "bars": [("one connection", 20)],
               "contenders": {"ashlar": lambda: self.flushes("relay", 32)["operations_per_s"],
                              "one connection": lambda: self.flushes("relay", 1)["operations_per_s"]}}
        yield {"name": "random 4 KiB writes, a flush every 64, drained, RGW", "unit": "/s",
               "higher_is_better": True, "bars": [("s3backer", 10)],
               "contenders": {"ashlar": self.random_writes, "s3backer": self.s3backer}}

    # ------------------------------------------------------------------ ashlar

    def url(self, where, prefix):
        region = self.env["AWS_REGION"]
        return f"s3://{stores.BUCKET}/{prefix}?endpoint={self.endpoints[where]}&region={region}&path_style=1"

    @contextlib.contextmanager
    def serving(self, where, prefix=None):
        folder = os.path.join(self.folder, secrets.token_hex(4))
        os.mkdir(folder)
        url = self.url(where, prefix or secrets.token_hex(4))
        server = peers.Ashlar(folder, f"{self.build}/ashlar", store=url, env=self.env,
                              options=("--cache-size", "256M"))
        try:
            yield server
        finally:
            server.stop()

    def load(self, server, **options):
        words = [f"{key}={value}" for key, value in options.items()]
        done = subprocess.run([f"{self.build}/bench/nbd_load", server.address, server.export, *words],
                              capture_output=True, text=True, check=True, timeout=600)
        return json.loads(done.stdout)

    def sequential_write(self, where, amount):
        with self.serving(where) as server:
            return self.load(server, op="write", bytes=MIB, depth=16, order="sequential", count=amount // MIB,
                             last_flush=1)["bytes_per_s"]

    def sequential_read(self, where, amount):
        """128 KiB at a time as a reading kernel does, of what another process has written."""
        prefix = secrets.token_hex(4)
        with self.serving("RGW", prefix) as server:
            self.load(server, op="write", bytes=MIB, depth=16, order="sequential", count=amount // MIB,
                      range=amount, last_flush=1)
        with self.serving(where, prefix) as server:
            return self.load(server, op="read", bytes=128 << 10, depth=16, order="sequential", range=amount,
                             count=amount // (128 << 10))["bytes_per_s"]

    def flushes(self, where, connections):
        with self.serving(where) as server:
            return self.load(server, op="write", bytes=4096, depth=1, connections=connections, flush=1,
                             range=64 * MIB, seconds=self.seconds)

    def random_writes(self):
        """With checkpoints so small that several pass, and the clean end counted in."""
        began = time.monotonic()
        with self.serving("RGW") as server:
            done = self.load(server, op="write", bytes=4096, depth=64, flush=64, count=64 << 10, last_flush=1)
        return done["operations"] / (time.monotonic() - began)

    # ------------------------------------------------------------------- others

    def bare(self, verb, where, amount, size=OBJECT, parallel=16):
        """The same S3 client, without anything of ashlar around it."""
        def load(what, at):
            done = subprocess.run(
                [f"{self.build}/tests/e2e/s3_load", f"bucket={stores.BUCKET}", "prefix=bare", "path_style=1",
                 f"region={self.env['AWS_REGION']}", "unchecked=1", "same=1",
                 f"endpoint={self.endpoints[at]}", what, str(amount // size), str(size), str(parallel)],
                check=True, capture_output=True, text=True, env={**os.environ, **self.env}, timeout=600)
            return json.loads(done.stdout)

        if verb == "get":
            load("put", "RGW")
        self.last_bare = load(verb, where)
        return amount / self.last_bare["wall_s"]

    def one_put(self, where):
        self.bare("put", where, 4096 * 64, size=4096, parallel=1)
        return self.last_bare["p50_ms"] * 1000

    def boto3(self, verb, where, amount):
        """Threads of Debian's python3-boto3: an independent measure of what the gateway gives."""
        import boto3
        import botocore.config
        session = boto3.session.Session(self.env["AWS_ACCESS_KEY_ID"], self.env["AWS_SECRET_ACCESS_KEY"],
                                        region_name=self.env["AWS_REGION"])
        config = botocore.config.Config(max_pool_connections=16, s3={"addressing_style": "path"})
        client = session.client("s3", endpoint_url=self.endpoints[where], config=config)
        body = os.urandom(OBJECT)

        def one(number, endpoint=client):
            if verb == "put":
                endpoint.put_object(Bucket=stores.BUCKET, Key=f"boto3/{number}", Body=body)
            else:
                endpoint.get_object(Bucket=stores.BUCKET, Key=f"boto3/{number}")["Body"].read()

        with concurrent.futures.ThreadPoolExecutor(16) as threads:
            if verb == "get":
                direct = session.client("s3", endpoint_url=self.endpoints["RGW"], config=config)
                list(threads.map(lambda n: direct.put_object(Bucket=stores.BUCKET, Key=f"boto3/{n}",
                                                             Body=body), range(amount // OBJECT)))
            began = time.monotonic()
            list(threads.map(one, range(amount // OBJECT)))
            return amount / (time.monotonic() - began)

    def s3backer(self):
        """At its defaults, its file served by nbdkit; the unmounting, which drains it, is counted in."""
        folder = os.path.join(self.folder, secrets.token_hex(4))
        os.makedirs(f"{folder}/mount")
        mount = subprocess.Popen(
            ["s3backer", "-f", "--size=1G", "--quiet", "--force", f"--baseURL={self.endpoints['RGW']}/",
             f"--accessId={self.env['AWS_ACCESS_KEY_ID']}",
             f"--accessKey={self.env['AWS_SECRET_ACCESS_KEY']}",
             "--authVersion=aws4", f"--prefix={secrets.token_hex(4)}-",
             stores.BUCKET, f"{folder}/mount"], stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL,
            stderr=open(f"{folder}/log", "wb"))
        deadline = time.monotonic() + 30
        while not os.path.exists(f"{folder}/mount/file"):
            if mount.poll() is not None or time.monotonic() > deadline:
                raise RuntimeError(open(f"{folder}/log", encoding="utf-8", errors="replace").read())
            time.sleep(0.1)
        front = peers.NbdkitOver(folder, f"{folder}/mount/file")
        count = 2048
        began = time.monotonic()
        try:
            self.load(front, op="write", bytes=4096, depth=64, flush=64, count=count, last_flush=1)
        finally:
            front.stop()
            subprocess.run(["fusermount", "-u", f"{folder}/mount"], check=True)
            mount.wait(300)
        return count / (time.monotonic() - began)
