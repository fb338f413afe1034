"""How fast a folder is fetched over SSH, beside rsync and scp, on the same data in one run.

200 MB in a few large files, and 5,000 small ones (more MB: ``python benchmarks/fetch.py 1000``), from one
OpenSSH sshd on loopback, best of three, each a process of its own. What starting and connecting take is
measured with one empty file, and shown apart: what counts is the rest, which grows with the data. Ours is
what ``runbook backup fetch`` transfers with: it also compares every file by SHA-256, which scp does not.
Goal: no slower than either, in less than 150 MB. In memory where that is possible, so that it is the
programs that are measured and not a disk.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

from tests.real.sshd import ADDRESS, Sshd  # noqa: E402

ROUNDS, SMALL = 3, 5_000
OURS = f"""
import asyncio, getpass, sys
sys.path.insert(0, {str(ROOT)!r})
from pathlib import Path
from runbook.hosts.base import Machine
from runbook.hosts.connection import SshOptions
from runbook.hosts.keys import KnownHosts
from runbook.hosts.ssh import SshHost
folder, source, target = map(Path, sys.argv[1:])
known = KnownHosts(folder / "known_hosts")
options = SshOptions(getpass.getuser(), known, folder / "id_ed25519", folder / "ssh_config")
async def go():
    host = SshHost(Machine("backup", "backup", {ADDRESS!r}), options)
    await host.get_tree(str(source), target)
    await host.close()
asyncio.run(go())
"""


def made(folder: Path, size: int) -> dict[str, Path]:
    empty, large, small = folder / "empty", folder / "large", folder / "small"
    empty.mkdir()
    (empty / "file").touch()
    large.mkdir()
    for number in range(4):
        (large / f"{number}.json").write_bytes(os.urandom(size // 4))
    for number in range(SMALL):
        below = small / f"node-{number % 50}"
        below.mkdir(parents=True, exist_ok=True)
        (below / f"{number}.json").write_bytes(os.urandom(4000))
    return {"": empty, f"{size / 1e6:.0f} MB in 4 files": large, f"{SMALL} files of 4 kB": small}


def timed(argv: list[str]) -> tuple[float, int]:
    """(seconds, peak memory in bytes of the largest of its processes), as the kernel counted it."""
    script = (
        "import resource, subprocess, sys, time; began = time.monotonic(); "
        "subprocess.run(sys.argv[1:], check=True); "
        "print(time.monotonic() - began, resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss)"
    )
    done = subprocess.run([sys.executable, "-c", script, *argv], check=True, capture_output=True, text=True)
    seconds, peak = done.stdout.split()[-2:]
    return float(seconds), int(peak) * 1024


def commands(sshd: Sshd, source: Path, target: Path) -> dict[str, list[str]]:
    ssh = ["-i", str(sshd.key), "-o", f"UserKnownHostsFile={sshd.folder}/known_hosts"]
    ssh += ["-F", str(sshd.ssh_config), "-o", f"HostKeyAlias={ADDRESS}"]
    found = {"runbook": [sys.executable, "-c", OURS, str(sshd.folder), str(source), str(target)]}
    if shutil.which("rsync"):
        shell = " ".join(["ssh", *ssh])
        found["rsync"] = ["rsync", "-a", "-e", shell, f"{ADDRESS}:{source}/", f"{target}/"]
    found["scp"] = ["scp", "-q", "-r", *ssh, f"{ADDRESS}:{source}", str(target)]
    return found


def main() -> int:
    size = int(sys.argv[1]) * 1_000_000 if len(sys.argv) > 1 else 200_000_000
    memory = Path("/dev/shm")
    roomy = memory.is_dir() and shutil.disk_usage(memory).free > 8 * size
    folder = Path(tempfile.mkdtemp(prefix="fetch-", dir=memory if roomy else None))
    sshd = Sshd(folder / "sshd", extra=["Subsystem sftp internal-sftp"])
    slower, most = False, 0
    beginning: dict[str, float] = {}
    try:
        sshd.start()
        sshd.trust()
        for what, source in made(folder, size).items():
            best: dict[str, float] = {}
            for number in range(ROUNDS):
                target = folder / f"copy{number}"
                for name, argv in commands(sshd, source, target).items():
                    seconds, peak = timed(argv)
                    best[name] = min(best.get(name, seconds), seconds)
                    most = max(most, peak) if name == "runbook" else most
                    shutil.rmtree(target)
            if not what:
                beginning = best
                continue
            net = {name: max(seconds - beginning[name], 0.001) for name, seconds in best.items()}
            print(f"{what}, best of {ROUNDS}:")
            for name, seconds in net.items():
                ratio = (
                    f"  runbook is {seconds / net['runbook']:.1f} times as fast" if name != "runbook" else ""
                )
                print(f"  {name:8} {seconds:6.2f} s, and {beginning[name]:.2f} s to begin{ratio}")
            slower = slower or net["runbook"] > 1.05 * min(net.values())
        print(f"  no slower (goal): {'NO' if slower else 'yes'}; peak memory {most / 1e6:.0f} MB (under 150)")
    finally:
        sshd.stop()
        shutil.rmtree(folder)
    return 0 if not slower and most < 150_000_000 else 1


if __name__ == "__main__":
    sys.exit(main())
