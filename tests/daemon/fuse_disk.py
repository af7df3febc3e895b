"""A disk that can hang: `fuse_disk.py PLACE MOUNTINFO` mounts one of FUSE at PLACE, in a mount namespace of its own.

Says "ready" once it is mounted. What /proc/1/mountinfo shows in that namespace is written to MOUNTINFO: there the disk
is a local one, for those of FUSE are not watched. It answers as long as the process runs: SIGSTOP, and it hangs, with
what is asked still unread. After SIGUSR1 it reads and keeps what is asked: nothing ends who waits for that, not even
SIGKILL. SIGUSR2, and all is answered.
"""

import ctypes
import os
import signal
import struct
import sys
from pathlib import Path

NEW_MOUNTS, PRIVATE, BIND = 0x20000, 0x44000, 0x1000
GETATTR, STATFS, INIT = 3, 17, 26
FORGET, INTERRUPT, BATCH_FORGET = 2, 36, 42  # those have no answer
MISSING = 38  # ENOSYS
FOLDER = 0o40755
LIBC = ctypes.CDLL(None, use_errno=True)


def done(code):
    if code:
        raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))


def mounted(place, told):
    """Mount it; return the descriptor to serve."""
    done(LIBC.unshare(NEW_MOUNTS))
    done(LIBC.mount(b"none", b"/", None, PRIVATE, None))
    serves = os.open("/dev/fuse", os.O_RDWR | os.O_CLOEXEC)
    options = f"fd={serves},rootmode=40000,user_id=0,group_id=0,allow_other".encode()
    done(LIBC.mount(b"disk", os.fsencode(place), b"fuse", 0, options))
    text = Path("/proc/thread-self/mountinfo").read_text()
    told.write_text(text.replace(" - fuse disk ", " - ext4 /dev/disk "))
    done(LIBC.mount(os.fsencode(told), b"/proc/1/mountinfo", None, BIND, None))
    return serves


def answer(opcode):
    """Return the error and the body, as linux/fuse.h has them."""
    if opcode == INIT:
        return 0, struct.pack("=4I2H2I2H8I", 7, 31, 65536, 0, 12, 9, 65536, 1, 0, 0, *[0] * 8)
    if opcode == GETATTR:
        return 0, struct.pack("=Q2I6Q10I", 0, 0, 0, 1, *[0] * 5, 0, 0, 0, FOLDER, 2, 0, 0, 0, 4096, 0)
    if opcode == STATFS:
        return 0, struct.pack("=5Q4I24x", 1000, 500, 500, 100, 50, 4096, 255, 4096, 0)
    return -MISSING, b""


def main():
    serves = mounted(Path(sys.argv[1]), Path(sys.argv[2]))
    kept, keeps = [], False

    def give(number, opcode):
        error, body = answer(opcode)
        os.write(serves, struct.pack("=IiQ", 16 + len(body), error, number) + body)

    def keep(*_):
        nonlocal keeps
        keeps = True

    def give_all(*_):
        nonlocal keeps
        keeps = False
        while kept:
            give(*kept.pop())

    signal.signal(signal.SIGUSR1, keep)
    signal.signal(signal.SIGUSR2, give_all)
    sys.stdout.write("ready\n")
    sys.stdout.flush()
    while True:
        asked = os.read(serves, 1 << 18)
        _, opcode, number = struct.unpack_from("=2IQ", asked)
        if opcode in (FORGET, INTERRUPT, BATCH_FORGET):
            continue
        if keeps:
            kept.append((number, opcode))
        else:
            give(number, opcode)


if __name__ == "__main__":
    main()
