"""fio writes and verifies: over four connections to one export, and over four exports at once."""

import clients
from harness import limit, on

ALL = ("dir", "rgw", "minio")
VERIFY = ["--verify=crc32c", "--do_verify=1", "--verify_fatal=1", "--bsrange=4k-128k", "--iodepth=16",
          "--rw=randwrite", "--fsync=64", "--randseed=7", "--verify_state_save=0"]


@limit(240)
@on(*ALL)
def test_four_connections(case):
    size = 16 if case.sanitized else 64
    case.ashlar("create", "disk", "1G")
    server = case.server("--write-buffer", "32M", "--inline-buffer", "16M", "--cache-size", "64M")
    jobs = clients.fio(server.uri(), "--numjobs=4", f"--size={size}M", f"--offset_increment={size}M", *VERIFY)
    assert len(jobs) == 4
    server.stop()
    return figures(jobs)


@limit(240)
@on(*ALL)
def test_four_exports(case):
    size = 16 if case.sanitized else 64
    server = case.server("--write-buffer", "32M", "--inline-buffer", "16M", "--cache-size", "64M",
                         auto_create="256M")
    path = case.path("jobs.fio")
    with open(path, "w", encoding="ascii") as file:
        file.write("[global]\nioengine=nbd\n" + "".join(f"{option[2:]}\n" for option in VERIFY))
        file.write(f"size={size}M\n")
        for n in range(4):
            file.write(f"[export{n}]\nuri={server.uri(f'export{n}')}\n")
    jobs = clients.fio_file(path)
    assert len(jobs) == 4
    server.stop()
    return figures(jobs)


def figures(jobs):
    written = sum(job["write"]["io_bytes"] for job in jobs) >> 20
    seconds = max(job["write"]["runtime"] for job in jobs) / 1000
    return f"{written} MiB written in {seconds:.1f} s and verified"
