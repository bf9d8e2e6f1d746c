"""A cage for the whole run: its own network, mounts and process ids.

Everything that the run makes (namespaces, links, firewalls, daemons) is inside and is gone when the run is, whichever way it
ends: the kernel kills what is in a process id namespace with its first process, and the rest has no user any more. So two
runs never meet, and the host's network, routes and firewall are not touched.
"""

import ctypes
import os
import signal
import subprocess
import sys
import time

CLONE_NEWNS, CLONE_NEWNET, CLONE_NEWPID = 0x00020000, 0x40000000, 0x20000000
PR_SET_PDEATHSIG = 1
# How long the run may take to end by itself after a signal, before it is killed.
GRACE_SECONDS = 10

libc = ctypes.CDLL(None, use_errno=True)


class NoNamespaces(Exception):
    """This machine, or this user, cannot make network namespaces."""


def possible():
    """Fails where a cage cannot be made."""
    if os.geteuid() != 0:
        raise NoNamespaces("they need root")
    probe = os.fork()
    if probe == 0:
        os._exit(0 if libc.unshare(CLONE_NEWNET | CLONE_NEWNS) == 0 else ctypes.get_errno())
    code = os.waitstatus_to_exitcode(os.waitpid(probe, 0)[1])
    if code:
        raise NoNamespaces(f"unshare: {os.strerror(code)}")


def run(main):
    """Runs `main` in a cage; gives its exit code."""
    if libc.unshare(CLONE_NEWNET | CLONE_NEWNS | CLONE_NEWPID) != 0:
        raise NoNamespaces(f"unshare: {os.strerror(ctypes.get_errno())}")
    sys.stdout.flush()
    first = os.fork()
    if first == 0:
        libc.prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
        os._exit(_inside(main))
    return _wait(first)


def _wait(first):
    def forward(number, _frame):
        # ctrl-C reached the whole process group already.
        if number != signal.SIGINT:
            os.kill(first, signal.SIGINT)
        signal.signal(signal.SIGALRM, lambda *_: os.kill(first, signal.SIGKILL))
        signal.alarm(GRACE_SECONDS)

    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, forward)
    _, status = os.waitpid(first, 0)
    return os.waitstatus_to_exitcode(status) if os.WIFEXITED(status) else 1


def _inside(main):
    code = 1
    try:
        quiet = {"check": True, "stderr": subprocess.PIPE}
        subprocess.run(["mount", "--make-rprivate", "/"], **quiet)
        subprocess.run(["mount", "-t", "proc", "proc", "/proc"], **quiet)
        os.makedirs("/run/netns", exist_ok=True)
        subprocess.run(["mount", "-t", "tmpfs", "netns", "/run/netns"], **quiet)
        subprocess.run(["ip", "link", "set", "lo", "up"], **quiet)
        code = main()
    except KeyboardInterrupt:
        print("stopped", file=sys.stderr)
        code = 130
    except subprocess.CalledProcessError as error:
        print(f"{error}: {(error.stderr or b'').decode().strip()}", file=sys.stderr)
    except BaseException:  # noqa: the traceback must be seen before the process is gone
        import traceback

        traceback.print_exc()
    sys.stdout.flush()
    sys.stderr.flush()
    return code if isinstance(code, int) else 1


def enter_network(name):
    """Moves this thread into a named network namespace."""
    with open(f"/run/netns/{name}") as handle:
        if libc.setns(handle.fileno(), CLONE_NEWNET) != 0:
            raise OSError(ctypes.get_errno(), f"setns {name}")


def until(what, look, seconds=20, every=0.05):
    """The first truthy value of `look`; fails after a while with what was waited for."""
    end = time.monotonic() + seconds
    while True:
        seen = look()
        if seen:
            return seen
        if time.monotonic() > end:
            raise AssertionError(f"waited {seconds} s in vain until {what}")
        time.sleep(every)
