"""Container images made here, from busybox and socat: nothing is fetched from anywhere.

One root file system serves all; what a container does is told by its image's command. The CouchDB
image starts the document server's node with *its own* environment and mounted settings, so what
the recovery wrote into .env, override and ini files is what decides; then it relays port 5984.
"""

from __future__ import annotations

import io
import re
import shutil
import subprocess
import tarfile
from pathlib import Path

APPLETS = tuple(
    "sh cat echo sleep nc httpd wget env sed grep printf mkdir test head chmod chown ls".split()  # noqa: SIM905
)

COUCHDB = r"""#!/bin/sh
# as the official image's entrypoint does, running as root: fatal on a read-only mount
chown -f 5984:5984 /opt/couchdb/etc/local.d/*.ini || exit 1
chmod -f 0644 /opt/couchdb/etc/local.d/*.ini || exit 1
{
  echo "VM_ADDRESS=$VM_ADDRESS"
  env | grep -E '^(COUCHDB_|NODENAME)'
  echo '---'
  cat /opt/couchdb/etc/local.d/*.ini 2>/dev/null
} > /boot.txt
answer=$(wget -q -O - --post-file=/boot.txt "http://$CONTROL/boot") || { echo "no answer"; exit 1; }
case "$answer" in
  port=*) port=${answer#port=} ;;
  *) echo "$answer"; exit 1 ;;
esac
echo "started"
socat TCP-LISTEN:4369,fork,reuseaddr EXEC:/bin/cat &
socat TCP-LISTEN:9100,fork,reuseaddr EXEC:/bin/cat &
exec socat TCP-LISTEN:5984,fork,reuseaddr,backlog=64 "TCP:${CONTROL%:*}:$port"
"""

OPENEDX = r"""#!/bin/sh
printf 'OK' > /www/health
printf '<h1>Open edX</h1>' > /www/index.html
printf '{"modulestore": {"status": true, "message": "OK"}}' > /www/heartbeat
export COUCHDB_USER COUCHDB_PASSWORD VM_ADDRESS
exec httpd -f -p "$PORT" -h /www
"""

#: reads the course and the user from CouchDB each time: nothing is made up
CGI = {
    "course": r"""#!/bin/sh
echo "Content-Type: application/json"; echo
exec wget -q -O - "http://$COUCHDB_USER:$COUCHDB_PASSWORD@$VM_ADDRESS:5984/openedx_1/$QUERY_STRING"
""",
    "login": r"""#!/bin/sh
body=$(head -c "$CONTENT_LENGTH")
echo "Content-Type: application/json"; echo
exec wget -q -O - --header 'Content-Type: application/x-www-form-urlencoded' --post-data "$body" \
  "http://$VM_ADDRESS:5984/_session"
""",
}

CADDY = r"""#!/bin/sh
socat TCP-LISTEN:80,fork,reuseaddr "TCP:$VM_ADDRESS:8000" &
exec socat OPENSSL-LISTEN:443,cert=/caddy.pem,verify=0,fork,reuseaddr "TCP:$VM_ADDRESS:8000"
"""

IDLE = "#!/bin/sh\nexec sleep 1000000\n"

#: image -> (script, port)
IMAGES = {
    "couchdb:3.3.2": ("couchdb", ""),
    "openedx-ha/lms:17.0": ("openedx", "8000"),
    "openedx-ha/cms:17.0": ("openedx", "8001"),
    "caddy:2.7": ("caddy", ""),
    "prom/prometheus:v2.45.0": ("idle", ""),
    "grafana/grafana:10.1.0": ("idle", ""),
    "gcr.io/cadvisor/cadvisor:v0.47.0": ("idle", ""),
    "prom/node-exporter:v1.6.1": ("idle", ""),
    "containrrr/watchtower:1.5.3": ("idle", ""),
}
#: those that differ in nothing but their name from one that stands before them
ALIKE = {
    image: first
    for image, made in IMAGES.items()
    if (first := next(name for name, other in IMAGES.items() if other == made)) != image
}


def _libraries(program: str) -> list[Path]:
    """None for one that is linked statically, as busybox mostly is."""
    told = subprocess.run(["ldd", program], capture_output=True, text=True, check=False).stdout
    return [Path(path) for path in re.findall(r"(/\S+) \(0x", told)]


def root_file_system(target: Path, certificate: Path) -> Path:
    """The tar file that ``docker import`` takes."""
    busybox, socat = shutil.which("busybox"), shutil.which("socat")
    assert busybox and socat
    with tarfile.open(target, "w", dereference=True) as archive:
        for folder in ("tmp", "www/cgi-bin", "opt/couchdb/etc/local.d", "opt/couchdb/data"):
            member = tarfile.TarInfo(folder)
            member.type, member.mode = tarfile.DIRTYPE, 0o777
            archive.addfile(member)
        archive.add(busybox, "bin/busybox")
        archive.add(socat, "bin/socat")
        for library in {*_libraries(socat), *_libraries(busybox)}:
            archive.add(library, str(library).lstrip("/"))
        for applet in APPLETS:
            member = tarfile.TarInfo(f"bin/{applet}")
            member.type, member.linkname = tarfile.SYMTYPE, "busybox"
            archive.addfile(member)
        files = {
            "couchdb.sh": COUCHDB,
            "openedx.sh": OPENEDX,
            "caddy.sh": CADDY,
            "idle.sh": IDLE,
            **{f"www/cgi-bin/{name}": text for name, text in CGI.items()},
        }
        for name, text in files.items():
            _add(archive, name, text.encode(), 0o755)
        _add(archive, "caddy.pem", certificate.read_bytes(), 0o600)
    return target


def _add(archive: tarfile.TarFile, name: str, data: bytes, mode: int) -> None:
    member = tarfile.TarInfo(name)
    member.size, member.mode = len(data), mode
    archive.addfile(member, io.BytesIO(data))


def import_arguments(image: str, address: str, control: str) -> list[str]:
    """``docker import`` of that image for the VM at ``address``; the tar file comes on stdin."""
    script, port = IMAGES[image]
    changes = [
        f"ENV PATH=/bin VM_ADDRESS={address} CONTROL={control} PORT={port or 0}",
        f'CMD ["/bin/sh", "/{script}.sh"]',
    ]
    return ["import", *(word for change in changes for word in ("--change", change)), "-", image]
