"""The stores that tests run on: a directory, Ceph's gateway, MinIO. Real ones, started by tools/.

Each test has its own folder or prefix, so that one S3 server serves many tests one after the other.
"""

import hashlib
import os
import secrets
import shutil
import subprocess
import urllib.parse

from s3client import S3Client

TOOLS = os.path.join(os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__)))), "tools")
BUCKET = "ashlar-tests"


class Skip(Exception):
    """The test cannot run on this system."""


class Missing(Skip):
    """A store or a client that tools/setup should have brought is not there."""


def open_store(kind, folder, shared, private):
    name = "store-" + secrets.token_hex(4)
    if kind == "dir":
        return DirStore(os.path.join(folder, name))
    where = os.path.join(folder if private else shared, f"{kind}-{name}" if private else kind)
    return S3Store(Daemon(kind, where), name, private)


class DirStore:
    kind = "dir"
    env = {}

    def __init__(self, path):
        self.path = path
        os.makedirs(path)
        self.url = f"file:{path}"

    def keys(self, prefix=""):
        """{key: size} of every object, as the bucket would list them."""
        found = {}
        for folder, folders, names in os.walk(self.path):
            folders[:] = [name for name in folders if name != ".ashlar"]  # the store's own
            for name in names:
                full = os.path.join(folder, name)
                key = os.path.relpath(full, self.path)
                if key.startswith(prefix):
                    found[key] = os.path.getsize(full)
        return found

    def get(self, key):
        with open(os.path.join(self.path, key), "rb") as file:
            return file.read()

    def put(self, key, content):
        with open(os.path.join(self.path, key), "wb") as file:
            file.write(content)

    def delete(self, key):
        os.unlink(os.path.join(self.path, key))

    def close(self):
        shutil.rmtree(self.path, ignore_errors=True)


class Daemon:
    """An S3 server under the care of tools/s3-rgw or tools/s3-minio."""

    def __init__(self, kind, folder):
        self.tool = os.path.join(TOOLS, f"s3-{kind}")
        self.folder = folder
        self.call("start")
        lines = self.call("env").replace("export ", "").split()
        self.env = dict(line.split("=", 1) for line in lines)
        self.endpoint = self.env.pop("AWS_ENDPOINT_URL")
        self.call("bucket", BUCKET)

    def call(self, *verb):
        done = subprocess.run([self.tool, *verb, "--dir", self.folder, "--timeout", "120"], text=True,
                              stdin=subprocess.DEVNULL, capture_output=True, start_new_session=True)
        if done.returncode == 77:
            raise Missing(done.stderr.strip())
        assert done.returncode == 0, f"{self.tool} {verb}: {done.stdout}{done.stderr}"
        return done.stdout

    def stop(self, kill=False):
        self.call("stop", *(["--kill"] if kill else []))

    def start(self):
        self.call("start")


class S3Store:
    def __init__(self, daemon, prefix, private):
        self.kind = os.path.basename(daemon.tool)[3:]
        self.daemon = daemon
        self.prefix = prefix
        self.private = private
        self.env = {k: v for k, v in daemon.env.items() if k != "AWS_CA_BUNDLE"}
        self.client = S3Client(daemon.endpoint, daemon.env["AWS_ACCESS_KEY_ID"],
                               daemon.env["AWS_SECRET_ACCESS_KEY"], daemon.env["AWS_REGION"])
        self.url = self.url_through(daemon.endpoint)

    def url_through(self, endpoint):
        """The same store, reached through something that listens there."""
        query = {"endpoint": endpoint, "region": self.env["AWS_REGION"], "path_style": 1}
        return f"s3://{BUCKET}/{self.prefix}?{urllib.parse.urlencode(query)}"

    def keys(self, prefix=""):
        listed = self.client.list(BUCKET, f"{self.prefix}/{prefix}")
        return {key[len(self.prefix) + 1:]: size for key, size in listed.items()}

    def get(self, key):
        return self.client.get(BUCKET, f"{self.prefix}/{key}")

    def put(self, key, content):
        self.client.put(BUCKET, f"{self.prefix}/{key}", content)

    def delete(self, key):
        self.client.delete(BUCKET, f"{self.prefix}/{key}")

    def close(self):
        if self.private:
            self.daemon.call("destroy")
            return
        for key in self.keys():
            self.delete(key)


def stop_shared(folder):
    for kind in ("rgw", "minio"):
        where = os.path.join(folder, kind)
        if os.path.isdir(where):
            subprocess.run([os.path.join(TOOLS, f"s3-{kind}"), "destroy", "--dir", where], check=False)


def misnamed(store):
    """Block objects whose content is not what their name says."""
    wrong = []
    for key in store.keys("blocks/"):
        if hashlib.sha256(store.get(key)).hexdigest() != os.path.basename(key).split("-")[0]:
            wrong.append(key)
    return wrong
