r"""Run one command in an unpacked image as a runtime does under Kubernetes' restricted profile, and wait for it.

The command is PID 1 of a PID namespace, with mounts, network, IPC and host name of its own; the root is read-only; no
supplementary groups, no capabilities, no new privileges. No seccomp filter is set.

It prints nothing of its own and exits as the command does, 128 + N for signal N.
The descriptor of ``--pid-to`` gets the command's PID as this machine counts it.

    contain.py --root DIR [--user UID:GID] [--bind FROM:TO[:ro]] [--env NAME=VALUE] [--writable-root] [--pid-to FD] \
        -- COMMAND...
"""

from __future__ import annotations

import argparse
import ctypes
import fcntl
import os
import signal
import socket
import struct
import sys
from pathlib import Path

# linux/mount.h, linux/prctl.h, linux/capability.h, linux/if.h, linux/sockios.h
MS_RDONLY, MS_NOSUID, MS_NODEV, MS_REMOUNT, MS_BIND, MS_REC, MS_PRIVATE = 1, 2, 4, 32, 4096, 16384, 1 << 18
MNT_DETACH = 2
CLONE_NEWNS, CLONE_NEWUTS, CLONE_NEWIPC, CLONE_NEWPID, CLONE_NEWNET = 0x20000, 0x4000000, 0x8000000, 0x20000000, 1 << 30
PR_SET_PDEATHSIG, PR_CAPBSET_DROP, PR_SET_NO_NEW_PRIVS = 1, 24, 38
SIOCGIFFLAGS, SIOCSIFFLAGS, IFF_UP = 0x8913, 0x8914, 1

#: What a container finds in /dev, bound from this machine.
DEVICES = ("null", "zero", "full", "random", "urandom")

libc = ctypes.CDLL(None, use_errno=True)


def call(name: str, *arguments: object) -> None:
    """A function of libc that says -1 and errno."""
    given = [a.encode() if isinstance(a, str) else ctypes.c_ulong(a) if isinstance(a, int) else a for a in arguments]
    if getattr(libc, name)(*given) == -1:
        number = ctypes.get_errno()
        raise OSError(number, f"{name}{arguments}: {os.strerror(number)}")


def mount(source: str, target: Path, kind: str | None, flags: int, data: str | None = None) -> None:
    """mount(2)."""
    call("mount", source, str(target), kind, flags, data)


def build_mounts(root: Path, binds: list[str], *, writable: bool) -> None:
    """Everything the command will see, under ``root``; then ``root`` becomes ``/``."""
    mount("none", Path("/"), None, MS_REC | MS_PRIVATE)
    mount(str(root), root, None, MS_BIND)
    places = [[*bind.split(":"), ""][:3] for bind in binds]
    for source, target, _ in places:
        place = root / target.lstrip("/")
        if Path(source).is_dir():
            place.mkdir(parents=True, exist_ok=True)
        else:
            place.parent.mkdir(parents=True, exist_ok=True)
            place.touch()
    for folder in ("dev", "proc", "tmp"):
        (root / folder).mkdir(exist_ok=True)
    if not writable:
        mount("none", root, None, MS_REMOUNT | MS_BIND | MS_RDONLY)
    for source, target, mode in places:
        place = root / target.lstrip("/")
        mount(source, place, None, MS_BIND)
        if mode == "ro":
            mount("none", place, None, MS_REMOUNT | MS_BIND | MS_RDONLY)
    mount("tmpfs", root / "tmp", "tmpfs", MS_NOSUID | MS_NODEV, "mode=1777,size=64m")
    mount("tmpfs", root / "dev", "tmpfs", MS_NOSUID, "mode=755,size=64k")
    for name in DEVICES:
        (root / "dev" / name).touch()
        mount(f"/dev/{name}", root / "dev" / name, None, MS_BIND)
    mount("none", root / "dev", None, MS_REMOUNT | MS_BIND | MS_RDONLY | MS_NOSUID)
    mount("proc", root / "proc", "proc", MS_NOSUID | MS_NODEV)
    os.chdir(root)
    call("pivot_root", ".", ".")
    call("umount2", ".", MNT_DETACH)
    os.chdir("/")


def loopback_up() -> None:
    """A new network namespace has its loopback down."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as any_socket:
        request = fcntl.ioctl(any_socket, SIOCGIFFLAGS, struct.pack("16sH14x", b"lo", 0))
        (flags,) = struct.unpack_from("H", request, 16)
        fcntl.ioctl(any_socket, SIOCSIFFLAGS, struct.pack("16sH14x", b"lo", flags | IFF_UP))


def become(uid: int, gid: int) -> None:
    """Give up root for good."""
    last = int(Path("/proc/sys/kernel/cap_last_cap").read_text())
    for capability in range(last + 1):
        call("prctl", PR_CAPBSET_DROP, capability, 0, 0, 0)
    os.setgroups([])
    os.setresgid(gid, gid, gid)
    os.setresuid(uid, uid, uid)
    call("prctl", PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0)
    # Last: a change of user clears it. A waiter that is killed takes the command with it.
    call("prctl", PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)


def main() -> int:
    """Parse, unshare, fork, wait."""
    parser = argparse.ArgumentParser(description="Run one command in an unpacked image, under the restricted profile.")
    parser.add_argument("--root", type=Path, required=True)
    parser.add_argument("--user", default="65532:65532")
    parser.add_argument("--bind", action="append", default=[])
    parser.add_argument("--env", action="append", default=[])
    parser.add_argument("--writable-root", action="store_true")
    parser.add_argument("--pid-to", type=int)
    parser.add_argument("command", nargs="+")
    given = parser.parse_args()
    uid, gid = map(int, given.user.split(":"))
    environ = dict(pair.split("=", 1) for pair in given.env)

    call("prctl", PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
    call("unshare", CLONE_NEWNS | CLONE_NEWUTS | CLONE_NEWIPC | CLONE_NEWPID | CLONE_NEWNET)
    loopback_up()
    # The child says "about to exec" by closing its end; the PID goes out only then.
    ready, about = os.pipe()
    child = os.fork()
    if child == 0:
        try:
            os.close(ready)
            if given.pid_to is not None:
                os.close(given.pid_to)
            build_mounts(given.root, given.bind, writable=given.writable_root)
            become(uid, gid)
            os.execvpe(given.command[0], given.command, environ)
        except OSError as error:
            print(f"contain: {error}", file=sys.stderr, flush=True)
        os._exit(127)
    os.close(about)
    os.read(ready, 1)
    if given.pid_to is not None:
        os.write(given.pid_to, f"{child}\n".encode())
        os.close(given.pid_to)
    code = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    return 128 - code if code < 0 else code


if __name__ == "__main__":
    sys.exit(main())
