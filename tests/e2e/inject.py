"""Faults that no load generator makes, each a process of its own: `python inject.py NAME [PLACE]`.

Each is small, bounded, and goes on until it is ended. The kernel's short name of the process is that
of the fault, so that whoever looks for the culprit can find it.
"""

import contextlib
import ctypes
import errno
import mmap
import os
import random
import resource
import select
import socket
import struct
import sys
import time
from pathlib import Path

_MIB = 1 << 20


def steady(place):
    """Take a little of everything, always: who does that is nobody's culprit."""
    memory = bytearray(300 * _MIB)
    files = [os.open("/dev/null", os.O_RDONLY) for _ in range(500)]
    with (Path(place) / "steady").open("wb", buffering=0) as file:
        while True:
            begun = time.process_time()
            while time.process_time() - begun < 0.02:
                memory[:: 4096 * len(files)] = memory[:: 4096 * len(files)]
            file.seek(0)
            file.write(bytes(128 * 1024))
            os.fdatasync(file.fileno())
            time.sleep(0.48)


def thrash(place):
    """Read a file that is larger than the memory one may have, without end."""
    with (Path(place) / "thrashed").open("rb") as file:
        size = os.fstat(file.fileno()).st_size
        os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)  # what is there already is at others' expense
        view = mmap.mmap(file.fileno(), size, prot=mmap.PROT_READ)
        view.madvise(mmap.MADV_RANDOM)
        while True:
            view[random.randrange(size)]


def fill(place):
    """Fill the disk to 98 % within ten seconds, as a log does that nobody rotates."""
    whole = os.statvfs(place)
    step = max(int(whole.f_bavail * whole.f_frsize / 100), 4096)
    with (Path(place) / "log").open("wb", buffering=0) as file:
        while (left := os.statvfs(place)).f_bavail > 0.02 * whole.f_blocks:
            file.write(bytes(min(step, int((left.f_bavail - 0.019 * whole.f_blocks) * left.f_frsize))))
            os.fdatasync(file.fileno())
            time.sleep(0.1)
    _wait()


def inodes(place):
    """Use up the inodes with small files, as a session store does that nobody cleans."""
    number = 0
    while os.statvfs(place).f_ffree > 0.02 * os.statvfs(place).f_files:
        for _ in range(50):
            with contextlib.suppress(OSError):
                (Path(place) / f"session-{number}").write_bytes(b"x")
            number += 1
        time.sleep(0.1)
    _wait()


def storm(_place):
    """Open and close 500 connections a second, and keep some open."""
    server = socket.create_server(("127.0.0.1", 0), backlog=1024)
    kept = []
    while True:
        for _ in range(25):
            ends = socket.create_connection(server.getsockname()), server.accept()[0]
            if len(kept) < 1000:
                kept += ends
            else:
                for end in ends:
                    end.close()
        time.sleep(0.05)


def leak(_place):
    """Open 1,000 files a second and close none, up to 100,000."""
    most = 100_000
    with contextlib.suppress(ValueError, OSError):
        resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))
    most = resource.getrlimit(resource.RLIMIT_NOFILE)[0] - 50
    while most > 0:
        for _ in range(min(100, most)):
            os.open("/dev/null", os.O_RDONLY)
        most -= 100
        time.sleep(0.1)
    _wait()


def disk(place):
    """Serve an empty file system on a block device (a fuseblk, as NTFS is); stopped, it is a disk that hangs.

    `place` is DEVICE:MOUNTPOINT. The few messages of the kernel's FUSE protocol that `stat` and `statvfs` need.
    """
    device, _, target = place.partition(":")
    kernel = os.open("/dev/fuse", os.O_RDWR)
    options = f"fd={kernel},rootmode=40755,user_id=0,group_id=0,blksize=4096"
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.mount(device.encode(), target.encode(), b"fuseblk", 0, options.encode()):
        raise OSError(ctypes.get_errno(), f"{target} cannot be mounted")
    head = struct.Struct("<IIQQIIII")
    attributes = struct.pack("<QII6Q10I", 0, 0, 0, 1, 4096, 8, 0, 0, 0, 0, 0, 0, 0o40755, 2, 0, 0, 0, 4096, 0)
    answers = {
        26: struct.pack("<IIIIHHIIHHI28x", 7, 31, 65_536, 0, 12, 9, 65_536, 1, 0, 0, 0),  # INIT
        3: attributes,  # GETATTR
        17: struct.pack("<5Q4I24x", 65_536, 60_000, 60_000, 1000, 900, 4096, 255, 4096, 0),  # STATFS
        38: b"",  # DESTROY
    }
    while select.select([kernel], [], []):
        try:
            message = os.read(kernel, 1 << 17)
        except OSError as error:
            if error.errno == errno.ENODEV:  # unmounted
                return
            raise
        _, kind, unique, *_ = head.unpack_from(message)
        if kind in {2, 36, 42}:  # FORGET, INTERRUPT, BATCH_FORGET want no answer
            continue
        answer = answers.get(kind)
        os.write(
            kernel,
            struct.pack("<IiQ", 16 + len(answer or b""), 0 if answer is not None else -errno.ENOSYS, unique)
            + (answer or b""),
        )


def _wait():
    while True:
        time.sleep(60)


if __name__ == "__main__":
    fault = sys.argv[1]
    Path("/proc/self/comm").write_text(f"e2e-{fault}", encoding="ascii")
    {function.__name__: function for function in (steady, thrash, fill, inodes, storm, leak, disk)}[fault](
        sys.argv[2] if len(sys.argv) > 2 else ""
    )
