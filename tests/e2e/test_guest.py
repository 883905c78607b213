"""ext4 and xfs on the Linux kernel's own NBD client, with the server restarted underneath."""

import json
import os

from guest import Guest
from harness import MIB, limit, on

SCRIPT = os.path.join(os.path.dirname(os.path.abspath(__file__)), "guest-fs-test")


@limit(400)
@on("dir", "rgw")
def test_ext4(case):
    return life_of(case, "ext4")


@limit(400)
@on("dir")
def test_xfs(case):
    return life_of(case, "xfs")


def life_of(case, filesystem):
    case.ashlar("create", "disk", "512M")
    server = case.server(tcp=True)
    guest = Guest(case, SCRIPT, server.port, "disk", filesystem)
    mapped = {}
    for event in ("written", "deleted", "trimmed"):
        guest.wait_event(event)
        server.stop()
        mapped[event] = json.loads(case.ashlar("info", "disk", "--json"))["mapped"]
        server.start()
        guest.go(event)
    status, text = guest.end()
    assert status == 0, text[-6000:]
    shrunk = mapped["deleted"] - mapped["trimmed"]
    assert shrunk >= 20 * MIB, f"mapped before and after fstrim: {mapped}"
    return ", ".join(f"{event}: {size / MIB:.1f} MiB mapped" for event, size in mapped.items())
