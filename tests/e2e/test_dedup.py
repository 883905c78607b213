"""The same data in four places is stored once, under names that are its hashes."""

import os

import clients
from harness import MIB, limit, on
from stores import misnamed

ALL = ("dir", "rgw", "minio")


@limit(240)
@on(*ALL)
def test_four_copies_are_stored_once(case):
    size = 256 * MIB
    image = case.path("random")
    with open(image, "wb") as file:
        for _ in range(size // MIB):
            file.write(os.urandom(MIB))
    digest = clients.sha256_of_file(image)
    server = case.server(auto_create="1G")
    for export in ("one", "two"):
        case.ashlar("create", export, "1G")
        for place in (0, 512 * MIB):
            with clients.connect(server.uri(export)) as handle, open(image, "rb") as file:
                for at in range(0, size, 4 * MIB):
                    handle.pwrite(file.read(4 * MIB), place + at)
                handle.flush()
    server.stop()
    stored = sum(case.store.keys("blocks/").values())
    assert size <= stored <= 1.02 * size, f"{stored / MIB:.1f} MiB under blocks/"
    wrong = misnamed(case.store)
    assert not wrong, wrong
    server.start()
    for export in ("one", "two"):
        out = case.path("out")
        clients.run("nbdcopy", server.uri(export), out)
        with open(out, "rb") as file:
            file.seek(512 * MIB)
            with open(case.path("half"), "wb") as half:
                for _ in range(size // MIB):
                    half.write(file.read(MIB))
        assert clients.sha256_of_file(case.path("half")) == digest
        os.unlink(out)
    return f"{stored / MIB:.1f} MiB for 4 x 256 MiB, every name is its content's hash"
