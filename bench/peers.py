"""The servers that are measured side by side: each is started on a unix socket and a TCP port, with an export
of `SIZE` bytes that answers from memory or from a file in the page cache."""

import os
import select
import signal
import socket
import subprocess
import time

SIZE = 1 << 30


def free_port():
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        return s.getsockname()[1]


def wait_for(path_or_port, process, seconds=30):
    """Until somebody listens there."""
    deadline = time.monotonic() + seconds
    family = socket.AF_UNIX if isinstance(path_or_port, str) else socket.AF_INET
    address = path_or_port if isinstance(path_or_port, str) else ("127.0.0.1", path_or_port)
    while time.monotonic() < deadline:
        if process.poll() is not None:
            raise RuntimeError(f"{process.args[0]} ended with status {process.returncode}")
        with socket.socket(family) as s:
            if s.connect_ex(address) == 0:
                return
        time.sleep(0.05)
    raise RuntimeError(f"{process.args[0]}: nobody listens at {path_or_port}")


class Daemon:
    """A process that is not our child, with as much of Popen as is needed here."""

    args = ("the daemon",)

    def __init__(self, pid):
        self.pid = pid
        self.handle = os.pidfd_open(pid)

    def poll(self):
        return 0 if select.select([self.handle], [], [], 0)[0] else None

    def wait(self, timeout):
        if not select.select([self.handle], [], [], timeout)[0]:
            raise subprocess.TimeoutExpired(self.args, timeout)

    def send_signal(self, number):
        signal.pidfd_send_signal(self.handle, number)

    def kill(self):
        self.send_signal(signal.SIGKILL)


class Peer:
    """One process. `address` and `tcp` are what nbd_load takes; `uri` is what libnbd's programs take."""

    export = ""
    in_memory = False

    def __init__(self, folder):
        self.folder = os.path.join(folder, self.name.replace(" ", "-"))
        os.makedirs(self.folder)
        self.socket = os.path.join(self.folder, "sock")
        self.port = free_port()
        self.address = f"unix:{self.socket}"
        self.tcp = f"127.0.0.1:{self.port}"
        self.processes = []
        self.start()

    @property
    def uri(self):
        return f"nbd+unix:///{self.export}?socket={self.socket}"

    def spawn(self, *command, env=None, listens_at):
        log = open(os.path.join(self.folder, "log"), "ab")
        process = subprocess.Popen([str(word) for word in command], stdin=subprocess.PIPE, stdout=log,
                                   stderr=log, env={**os.environ, **(env or {})})
        log.close()
        self.processes.append(process)
        wait_for(listens_at, process)

    def image(self):
        """A file of that size with content, in the page cache."""
        path = os.path.join(self.folder, "image")
        block = os.urandom(1 << 20)
        with open(path, "wb") as file:
            for _ in range(SIZE >> 20):
                file.write(block)
        return path

    def reached_by(self, transport):
        """Where nbd_load reaches it, and the process whose CPU time counts: those that listen on one address
        only have a second process for TCP."""
        if transport == "unix":
            return self.address, self.processes[0].pid
        return self.tcp, self.processes[-1].pid

    def stop(self):
        for process in self.processes:
            process.send_signal(signal.SIGTERM)
        for process in self.processes:
            try:
                process.wait(30)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
        self.processes = []


class Ashlar(Peer):
    """On a directory store, all of the export in the cache or in the write buffer."""

    name = "ashlar"
    export = "disk"

    def __init__(self, folder, program, store=None, env=None, options=()):
        self.program, self.env = program, env
        self.store = store or f"file:{folder}/store"
        self.options = options or ("--cache-size", "1536M", "--write-buffer", "1G",
                                   "--inline-buffer", "256M")
        super().__init__(folder)

    def start(self):
        self.spawn(self.program, "--store", self.store, "serve", "--listen", self.address,
                   "--listen", self.tcp, "--auto-create", SIZE, *self.options, env=self.env,
                   listens_at=self.socket)


class NbdkitMemory(Peer):
    name = "nbdkit memory"
    in_memory = True

    def start(self):
        self.spawn("nbdkit", "-f", "-U", self.socket, "memory", SIZE, listens_at=self.socket)
        self.tcp_twin("memory", SIZE)

    def tcp_twin(self, *plugin):
        """nbdkit listens on one address: a second process serves TCP."""
        self.spawn("nbdkit", "-f", "-i", "127.0.0.1", "-p", self.port, *plugin, listens_at=self.port)


class NbdkitFile(NbdkitMemory):
    name = "nbdkit file"
    in_memory = False

    def start(self):
        image = self.image()
        self.spawn("nbdkit", "-f", "-U", self.socket, "file", image, listens_at=self.socket)
        self.tcp_twin("file", image)


class QemuNbd(Peer):
    name = "qemu-nbd"

    def start(self):
        image = self.image()
        common = ("qemu-nbd", "-t", "-e", "1024", "--cache=writeback", "--image-opts")
        unlocked = f"driver=raw,file.driver=file,file.locking=off,file.filename={image}"
        self.spawn(*common, "-k", self.socket, unlocked, listens_at=self.socket)
        self.spawn(*common, "-b", "127.0.0.1", "-p", self.port, unlocked, listens_at=self.port)


class NbdServer(Peer):
    name = "nbd-server"
    export = "disk"

    def start(self):
        image = self.image()
        self.spawn("unix", f"unixsock = {self.socket}\n", image, self.socket)
        self.spawn("tcp", f"listenaddr = 127.0.0.1\nport = {self.port}\n", image, self.port)

    def spawn(self, name, listener, image, listens_at):
        """It goes into the background, and its own option against that makes it serve one client only."""
        config, pid = f"{self.folder}/{name}", f"{self.folder}/{name}.pid"
        with open(config, "w", encoding="ascii") as file:
            file.write(f"[generic]\n{listener}[disk]\nexportname = {image}\n")
        subprocess.run(["nbd-server", "-C", config, "-p", pid], check=True, timeout=30, capture_output=True)
        deadline = time.monotonic() + 30
        while not os.path.exists(pid) and time.monotonic() < deadline:
            time.sleep(0.05)
        with open(pid, encoding="ascii") as file:
            self.processes.append(Daemon(int(file.read())))
        wait_for(listens_at, self.processes[-1])


class BareLoop(Peer):
    """The ceiling: no server on this machine can be faster."""

    name = "bare loop"
    in_memory = True

    def __init__(self, folder, program):
        self.program = program
        super().__init__(folder)

    def start(self):
        self.spawn(self.program, self.address, SIZE, listens_at=self.socket)
        self.spawn(self.program, self.tcp, SIZE, listens_at=self.port)


class NbdkitOver(Peer):
    """nbdkit in front of a file that somebody else makes."""

    name = "nbdkit over"

    def __init__(self, folder, path):
        self.path = path
        super().__init__(folder)

    def start(self):
        self.spawn("nbdkit", "-f", "-U", self.socket, "file", self.path, listens_at=self.socket)
