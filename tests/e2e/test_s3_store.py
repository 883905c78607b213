"""The S3 store by itself, through s3_load, on real servers: alone, and behind a relay that misbehaves."""

import collections
import json
import os
import random
import subprocess
import threading
import time

from faults import FaultyRelay
from harness import Skip, limit, on
from stores import BUCKET


def load(case, *arguments, endpoint=None, env=None, status=0, timeout=100):
    """Runs s3_load; what it says."""
    return finish(start(case, *arguments, endpoint=endpoint, env=env), status, timeout)


def start(case, *arguments, endpoint=None, env=None):
    program = os.path.join(case.build, "tests", "e2e", "s3_load")
    if not os.access(program, os.X_OK):
        raise Skip(f"{program} was not built")
    store = case.store
    command = [program, f"bucket={BUCKET}", f"prefix={store.prefix}",
               f"endpoint={endpoint or store.daemon.endpoint}", *map(str, arguments)]
    full = {**os.environ, **store.env, **(env or {})}
    return subprocess.Popen(command, env={k: v for k, v in full.items() if v is not None}, text=True,
                            stdout=subprocess.PIPE, stderr=subprocess.PIPE)


def finish(process, status=0, timeout=100):
    try:
        out, err = process.communicate(timeout=timeout)
    except subprocess.TimeoutExpired:
        process.kill()
        raise AssertionError(f"no end within {timeout} s: {process.communicate()[1][-2000:]}") from None
    print(out, err)
    assert process.returncode == status, f"status {process.returncode}: {out}{err[-2000:]}"
    return json.loads(out)


def sometimes(seed, *actions, share=0.2):
    chance = random.Random(seed)
    return lambda request: chance.choice(actions) if chance.random() < share else None


def conform(case, more=""):
    program = os.path.join(case.build, "tests", "unit", "objstore_conformance")
    if not os.access(program, os.X_OK):
        raise Skip(f"{program} was not built")
    done = subprocess.run([program, case.store.url + more], env={**os.environ, **case.store.env}, text=True,
                          capture_output=True, timeout=150)
    print(done.stdout, done.stderr)
    assert done.returncode == 0 and "\nok" in done.stdout, done.stdout + done.stderr[-2000:]
    return done.stdout.strip().split("\n")[-1]


@on("rgw", "minio")
@limit(160)
def test_conformance(case):
    return conform(case)


@on("rgw", "minio")
@limit(160)
def test_conformance_with_conditions_by_hand(case):
    return conform(case, "&conditional_writes=off")


@on("rgw", "minio")
def test_every_verb(case):
    load(case, "put", 300, 10000, 16)
    assert load(case, "get", 300, 10000, 16)["damaged"] == 0
    load(case, "head", 300, 0, 16)
    assert load(case, "create", 5, 100, 2, status=1)["condition refused"] == 5
    load(case, "put", 4, 5000001, 4)
    load(case, "get", 4, 5000001, 4)
    load(case, "put", 1, 0, 1)
    load(case, "delete", 300, 0, 16)
    assert load(case, "get", 5, 10000, 1, status=1)["not found"] == 5
    assert load(case, "head", 5, 0, 1, status=1)["not found"] == 5


@on("rgw", "minio")
def test_counting_by_compare_and_swap(case):
    case.store.put("counter", b"0")
    done = load(case, "count", 200, 0, 8)
    value = int(case.store.get("counter").split()[0])
    assert 200 <= value <= 200 + done.get("outcome unknown", 0), (value, done)
    return f"200 increments by 8 writers: {done.get('condition refused', 0)} refused, " \
           f"{done.get('outcome unknown', 0)} unknown"


@on("rgw")
def test_faults_never_surface_from_unconditional_requests(case):
    relay = FaultyRelay(case.store.daemon.endpoint,
                        sometimes(1, "reset", "lose", "cut", "hang up", ("answer", 500, "InternalError"),
                                  ("answer", 503, "SlowDown"), ("late", 0.2)))
    load(case, "put", 400, 20000, 16, endpoint=relay.endpoint)
    load(case, "get", 400, 20000, 16, endpoint=relay.endpoint)
    load(case, "head", 400, 0, 16, endpoint=relay.endpoint)
    load(case, "delete", 400, 0, 16, endpoint=relay.endpoint)


@on("rgw")
def test_faults_and_compare_and_swap(case):
    case.store.put("counter", b"0")
    relay = FaultyRelay(case.store.daemon.endpoint,
                        sometimes(2, "reset", "lose", "cut", "hang up", ("answer", 500, "UnknownError"),
                                  ("answer", 409, "ConditionalRequestConflict"), ("answer", 503, "SlowDown")))
    done = load(case, "count", 200, 0, 4, endpoint=relay.endpoint)
    value = int(case.store.get("counter").split()[0])
    assert 200 <= value <= 200 + done["outcome unknown"], (value, done)


@on("rgw")
def test_conditional_puts_are_sent_once(case):
    """A lost answer, a connection that dies, one that the server gave up: UNKNOWN or certain, never twice."""
    forwarded = collections.Counter()
    chance = random.Random(3)

    def rule(request):
        if request.method != "PUT":
            return None
        action = chance.choice(("lose", "cut", "hang up", "reset", None))
        if action != "reset":
            forwarded[request.path] += 1
        return action

    relay = FaultyRelay(case.store.daemon.endpoint, rule)
    done = load(case, "create", 300, 3000, 8, endpoint=relay.endpoint, status=1)
    twice = [path for path, n in forwarded.items() if n > 1]
    assert not twice, twice
    assert set(done) & {"condition refused", "store unavailable"} == set(), done
    assert done["outcome unknown"] > 50 and done["done"] > 50, done


@on("rgw")
def test_empty_conditional_puts_are_sent_once(case):
    forwarded = collections.Counter()

    def rule(request):
        forwarded[request.path] += 1
        return "hang up" if request.number % 2 else None

    relay = FaultyRelay(case.store.daemon.endpoint, rule)
    load(case, "create", 20, 0, 1, endpoint=relay.endpoint)
    assert max(forwarded.values()) == 1


@on("rgw")
def test_throttled_puts_are_certain(case):
    relay = FaultyRelay(case.store.daemon.endpoint, sometimes(4, ("answer", 503, "SlowDown"), share=0.5))
    done = load(case, "create", 100, 3000, 8, endpoint=relay.endpoint)
    assert done["throttled"] > 20, done
    return f"{done['throttled']} of {done['requests']} refused, p99 {done['p99_ms']} ms"


@on("rgw")
def test_slow_requests_are_sent_again(case):
    """One GET in 100 would take 8 s."""
    load(case, "put", 100, 20000, 8)
    relay = FaultyRelay(case.store.daemon.endpoint, sometimes(5, ("late", 8), share=0.01))
    done = load(case, "seconds=10", "get", 0, 20000, 4, endpoint=relay.endpoint)
    assert done["max_ms"] < 5000, done
    extra = done["requests"] / done["answered"] - 1
    assert extra < 0.06, done
    return f"slowest {done['max_ms']} ms of {done['answered']}, p50 {done['p50_ms']} ms, " \
           f"{100 * extra:.1f} % more requests"


@on("rgw")
def test_slow_twice_in_a_row(case):
    """A GET whose second sending is as slow as the first is sent a third time."""
    load(case, "put", 100, 20000, 8)
    relay = FaultyRelay(case.store.daemon.endpoint, lambda r: ("late", 8) if r.number in (60, 61) else None)
    done = load(case, "get", 100, 20000, 1, endpoint=relay.endpoint)
    assert done["max_ms"] < 5000 and done["requests"] == 102, done
    return f"slowest {done['max_ms']} ms"


@on("rgw")
def test_dead_connections_are_found(case):
    load(case, "put", 2, 3000, 1)
    relay = FaultyRelay(case.store.daemon.endpoint, lambda r: "silent" if r.number == 0 else None)
    done = load(case, "create", 3, 3000, 1, endpoint=relay.endpoint, status=1)
    assert done["outcome unknown"] == 1 and done["max_ms"] < 30000, done
    relay = FaultyRelay(case.store.daemon.endpoint, lambda r: "silent" if r.number == 0 else None)
    done = load(case, "delete", 1, 0, 1, endpoint=relay.endpoint)
    return f"a DELETE without an answer: sent again within {done['max_ms'] / 1000:.0f} s"


@on("rgw", "minio")
@limit(200)
def test_outage(case):
    store = case.new_store(private=True)
    case._store = store
    running = start(case, "seconds=35", "put", 0, 100000, 16)
    time.sleep(5)
    store.daemon.stop(kill=True)
    time.sleep(20)
    store.daemon.start()
    done = finish(running)
    assert done["done"] == done["answered"], done
    assert done["max_ms"] > 15000, done
    return f"{done['answered']} PUTs, the longest {done['max_ms'] / 1000:.1f} s, {done['retries']} retries"


@on("rgw")
def test_clocks_that_differ(case):
    """Told of another time, the client signs with it; told better by the server, it goes back."""
    wrong = {}

    def rule(request):
        if request.number == 0:
            wrong["Date"] = time.strftime("%a, %d %b %Y %H:%M:%S GMT", time.gmtime(time.time() + 7200))
            return ("answer", 403, "RequestTimeTooSkewed", "off", wrong)
        return None

    relay = FaultyRelay(case.store.daemon.endpoint, rule)
    load(case, "create", 3, 3000, 1, endpoint=relay.endpoint)
    times = [time.strptime(r.fields["x-amz-date"], "%Y%m%dT%H%M%SZ") for r in relay.requests]
    seconds = [time.mktime(t) for t in times]
    assert 7100 < seconds[1] - seconds[0] < 7300, seconds
    assert abs(seconds[2] - seconds[0]) < 60, seconds


@on("rgw")
def test_credentials_are_exchanged_under_way(case):
    path = case.path("credentials")

    def write(secret):
        with open(path + ".new", "w", encoding="ascii") as file:
            file.write(f"[default]\naws_access_key_id = {case.store.env['AWS_ACCESS_KEY_ID']}\n"
                       f"aws_secret_access_key = {secret}\n")
        os.replace(path + ".new", path)

    env = {"AWS_SHARED_CREDENTIALS_FILE": path, "AWS_ACCESS_KEY_ID": None, "AWS_SECRET_ACCESS_KEY": None}
    good = case.store.env["AWS_SECRET_ACCESS_KEY"]
    write(good)
    running = start(case, "seconds=12", "put", 0, 3000, 4, env=env)
    time.sleep(2)
    write("nonsense")
    refused = load(case, "patience_ms=3000", "create", 1, 3000, 1, env=env, status=1)
    assert "SignatureDoesNotMatch" in refused["complaint"] and path in refused["complaint"], refused
    waiting = start(case, "create", 10, 3000, 4, env=env)
    time.sleep(3)
    assert waiting.poll() is None
    write(good)
    finish(waiting, 1)  # the objects are there already: refused, and nothing else
    finish(running)


@on("minio")
def test_etags_in_quotes(case):
    """A server that understands If-Match only with quotes; MinIO takes both, the relay refuses one."""
    case.store.put("counter", b"0")

    def rule(request):
        etag = request.fields.get("if-match")
        return ("answer", 412, "PreconditionFailed") if etag and not etag.startswith('"') else None

    relay = FaultyRelay(case.store.daemon.endpoint, rule)
    done = load(case, "count", 20, 0, 1, endpoint=relay.endpoint)
    assert "condition refused" not in done, done
    heads = sum(r.method == "HEAD" for r in relay.requests)
    assert heads == 1, heads
    assert int(case.store.get("counter").split()[0]) == 20


@on("rgw")
def test_conditions_by_hand(case):
    relay = FaultyRelay(case.store.daemon.endpoint)
    case.store.put("counter", b"0")
    done = load(case, "off=1", "count", 100, 0, 8, endpoint=relay.endpoint)
    assert int(case.store.get("counter").split()[0]) == 100, done
    assert not any("if-match" in r.fields or "if-none-match" in r.fields for r in relay.requests)
    load(case, "off=1", "create", 5, 100, 5, endpoint=relay.endpoint)
    again = load(case, "off=1", "create", 5, 100, 5, endpoint=relay.endpoint, status=1)
    assert again["condition refused"] == 5, again


@on("minio")
def test_virtual_hosts(case):
    """The bucket goes before the endpoint's name; *.localhost is loopback to libcurl."""
    relay = FaultyRelay(case.store.daemon.endpoint, lambda r: ("answer", 404, "NoSuchKey"))
    port = relay.endpoint.rsplit(":", 1)[1]
    load(case, "path_style=0", "get", 1, 10, 1, endpoint=f"http://localhost:{port}", status=1)
    request = relay.requests[0]
    assert request.fields["host"] == f"{BUCKET}.localhost:{port}", request.fields
    assert request.path == f"/{case.store.prefix}/load/0", request.path


@on("rgw")
@limit(200)
def test_tls(case):
    """With the authority named, all works; without, a person is told what to name."""
    tool, folder = case.store.daemon.tool, case.path("tls-rgw")

    def call(*verb):
        return subprocess.run([tool, *verb, "--dir", folder], stdin=subprocess.DEVNULL, capture_output=True,
                              text=True, check=True, start_new_session=True).stdout

    call("start", "--tls")
    try:
        call("bucket", BUCKET)
        env = dict(line.split("=", 1) for line in call("env").replace("export ", "").split())
        endpoint, authority = env["S3_TLS_URL"], env["AWS_CA_BUNDLE"]
        load(case, f"ca={authority}", "put", 50, 100000, 8, endpoint=endpoint)
        load(case, f"ca={authority}", "get", 50, 100000, 8, endpoint=endpoint)
        load(case, "get", 5, 100000, 1, endpoint=endpoint, env={"AWS_CA_BUNDLE": authority})
        refused = load(case, "patience_ms=1000", "get", 5, 100000, 1, endpoint=endpoint, status=1)
        assert "ca=FILE" in refused["complaint"], refused
    finally:
        call("destroy")


@on("rgw", "minio")
def test_what_a_person_is_told(case):
    told = {}

    def say(name, *arguments, **options):
        answer = load(case, "patience_ms=1500", *arguments, "put", 1, 10, 1, status=1, **options)
        told[name] = answer["complaint"]

    say("bucket", "bucket=nothing-like-it")
    assert "bucket nothing-like-it does not exist" in told["bucket"], told
    say("key", env={"AWS_ACCESS_KEY_ID": "NOBODYSKEY0000000001"})
    assert "NOBODYSKEY0000000001 (from the environment)" in told["key"], told
    say("secret", env={"AWS_SECRET_ACCESS_KEY": "wrong"})
    assert "SignatureDoesNotMatch" in told["secret"], told
    say("port", endpoint="http://127.0.0.1:1")
    assert "cannot reach 127.0.0.1:1" in told["port"], told
    say("name", endpoint="http://no-such-host.invalid:9000")
    assert "cannot reach no-such-host.invalid:9000" in told["name"], told
    say("tls", endpoint=case.store.daemon.endpoint.replace("http:", "https:"))
    assert "TLS" in told["tls"], told


@on("rgw")
def test_background_leaves_room_for_demand(case):
    """Of 64 places 8 are not for uploads in the background; up to 10 slow requests are sent twice."""
    relay = FaultyRelay(case.store.daemon.endpoint, lambda r: ("late", 0.5))
    load(case, "seconds=3", "background=1", "put", 0, 3000, 200, endpoint=relay.endpoint)
    assert 50 <= relay.connections <= 66, relay.connections
    relay = FaultyRelay(case.store.daemon.endpoint, lambda r: ("late", 0.5))
    load(case, "seconds=3", "put", 0, 3000, 200, endpoint=relay.endpoint)
    assert 60 <= relay.connections <= 74, relay.connections


if threading.stack_size() == 0:
    threading.stack_size(512 << 10)  # many relays' threads at once
