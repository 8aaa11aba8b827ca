"""A real OpenLDAP server on free ports of loopback: TLS by its own authority, and people in every state."""

from __future__ import annotations

import base64
import contextlib
import shutil
import socket
import subprocess
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import quote

import trustme

BINARY = shutil.which("slapd", path="/usr/sbin:/usr/local/sbin:/usr/libexec:/usr/bin")
SCHEMAS = Path("/etc/ldap/schema")
BASE = "dc=contoso,dc=example"
READER = f"cn=reader,{BASE}"

CONFIG = """
include {schemas}/core.schema
include {schemas}/cosine.schema
include {schemas}/inetorgperson.schema
modulepath /usr/lib/ldap
moduleload back_mdb
moduleload ppolicy
pidfile {here}/slapd.pid
TLSCACertificateFile {here}/ca.pem
TLSCertificateFile {here}/server.pem
TLSCertificateKeyFile {here}/server.key
allow bind_anon_dn
database mdb
maxsize 10485760
suffix "{base}"
rootdn "cn=admin,{base}"
directory {here}/data
overlay ppolicy
ppolicy_default "cn=default,{base}"
ppolicy_use_lockout
access to attrs=userPassword by anonymous auth by * none
access to * by dn.exact="cn=reader,{base}" read by * none
"""

POLICY = """
dn: cn={name},{base}
objectClass: device
objectClass: pwdPolicy
cn: {name}
pwdAttribute: userPassword
pwdLockout: TRUE
pwdMaxFailure: 3
pwdMaxAge: {age}
pwdGraceAuthNLimit: {grace}
pwdMustChange: TRUE
"""

PEOPLE = {
    "ann": [],
    "bob": [],
    "célia": [],
    "locked": ["pwdAccountLockedTime: 000001010000Z"],
    "reset": ["pwdReset: TRUE"],
    "expired": ["pwdChangedTime: 20200101000000Z", f"pwdPolicySubentry: cn=ageing,{BASE}"],
    "grace": ["pwdChangedTime: 20200101000000Z", f"pwdPolicySubentry: cn=lenient,{BASE}"],
    "guessed": [],
    "o'brien (jr)*": [],
    "plus+tag": [],
}
PASSWORD = "päss wörd ª1"


@dataclass(frozen=True)
class Slapd:
    """A running server: its ports, and its authority's certificate."""

    plain: int
    tls: int
    ca: Path
    process: subprocess.Popen[bytes]

    def url(self, *, user: str = READER, password: str = "re@der:1", base: str = BASE, more: str = "") -> str:
        """The URL of a search with the service account, over TLS."""
        account = f"{quote(user, safe='')}:{quote(password, safe='')}@" if user else ""
        return f"ldaps://{account}127.0.0.1:{self.tls}/{base}?ca={quote(str(self.ca))}{more}"


def _line(name: str, value: str) -> str:
    return f"{name}:: {base64.b64encode(value.encode()).decode()}"


def _entry(uid: str, mail: str, more: list[str]) -> str:
    name = uid.replace("+", "\\2b")
    lines = [_line("dn", f"cn={name},{BASE}"), "objectClass: inetOrgPerson", _line("cn", uid), _line("sn", uid)]
    mails = [f"mail: {mail}"] if mail.isascii() else []
    return "\n".join([*lines, _line("uid", uid), *mails, _line("userPassword", PASSWORD), *more]) + "\n"


def _ldif() -> str:
    parts = [f"dn: {BASE}\nobjectClass: dcObject\nobjectClass: organization\ndc: contoso\no: Contoso\n"]
    parts += [POLICY.format(name=name, base=BASE, age=age, grace=grace).lstrip() for name, age, grace in POLICIES]
    parts.append(
        f"dn: {READER}\nobjectClass: organizationalRole\nobjectClass: simpleSecurityObject\ncn: reader\n"
        "userPassword: re@der:1\n"
    )
    parts += [_entry(uid, f"{uid}@contoso.example", more) for uid, more in PEOPLE.items()]
    parts += [_entry(f"twin{number}", "twin@contoso.example", []) for number in (1, 2)]
    parts += [_entry(f"three{number}", "three@contoso.example", []) for number in (1, 2, 3)]
    parts.append(
        f"dn: ou=elsewhere,{BASE}\nobjectClass: referral\nobjectClass: extensibleObject\nou: elsewhere\n"
        f"ref: ldap://127.0.0.1:9/ou=elsewhere,{BASE}\n"
    )
    return "\n".join(parts)


POLICIES = [("default", 0, 0), ("ageing", 86400, 0), ("lenient", 86400, 2)]


@contextlib.contextmanager
def running(here: Path) -> Iterator[Slapd]:
    """Start a server whose files are in a directory; stop it at the end."""
    assert BINARY
    (here / "data").mkdir()
    write_certificates(here)
    (here / "slapd.conf").write_text(CONFIG.format(here=here, schemas=SCHEMAS, base=BASE))
    (here / "all.ldif").write_text(_ldif())
    # Some systems confine the binary at its own path to the system's directories.
    binary = shutil.copy(BINARY, here / "slapd")
    load = [binary, "-T", "add", "-q", "-f", here / "slapd.conf", "-l", here / "all.ldif"]
    subprocess.run(load, check=True, capture_output=True)
    plain, tls = _free_ports()
    process = start(here, plain, tls)
    try:
        yield Slapd(plain, tls, here / "ca.pem", process)
    finally:
        process.kill()
        process.wait()


def start(here: Path, plain: int, tls: int) -> subprocess.Popen[bytes]:
    """Start a server over files that are there."""
    urls = f"ldap://127.0.0.1:{plain}/ ldaps://127.0.0.1:{tls}/"
    command = [here / "slapd", "-f", here / "slapd.conf", "-h", urls, "-d", "0"]
    process = subprocess.Popen(command, stderr=subprocess.DEVNULL)
    _wait_for(plain, process)
    return process


def _free_ports() -> tuple[int, int]:
    with socket.socket() as one, socket.socket() as other:
        one.bind(("127.0.0.1", 0))
        other.bind(("127.0.0.1", 0))
        return one.getsockname()[1], other.getsockname()[1]


def _wait_for(port: int, process: subprocess.Popen[bytes]) -> None:
    for _ in range(200):
        assert process.poll() is None, "slapd ended"
        with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), 1):
            return
        time.sleep(0.025)
    raise AssertionError("slapd does not listen")


def write_certificates(here: Path) -> None:
    """Make an authority, and a server's certificate for 127.0.0.1: `ca.pem`, `server.pem`, `server.key`."""
    authority = trustme.CA()
    server = authority.issue_cert("127.0.0.1")
    authority.cert_pem.write_to_path(here / "ca.pem")
    server.cert_chain_pems[0].write_to_path(here / "server.pem")
    server.private_key_pem.write_to_path(here / "server.key")
