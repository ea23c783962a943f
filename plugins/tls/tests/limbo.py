"""Judges one case of x509-limbo after the other: a program, since a case may take for ever.

usage: python -m plugins.tls.tests.limbo FILE

It reads the id of a case a line from standard input and answers with JSON: what this plugin says, by a real handshake
in memory, and what the verifier of pyca/cryptography says. ``null`` is a case that cannot be judged, and why.
"""

from __future__ import annotations

import contextlib
import datetime as dt
import ipaddress
import json
import ssl
import sys
import tempfile
import time
from pathlib import Path
from typing import Any, Final

from cryptography import x509
from cryptography.x509.verification import PolicyBuilder, Store, VerificationError
from plugins.tls.tests.maker import SERVER, Ca
from plugins.tls.tests.shaking import ALPN, End, shake

from hauberk.connection import Peer
from hauberk.refusals import Refused
from hauberk_tls import _contexts
from hauberk_tls._failures import failure
from hauberk_tls._lists import Lists
from hauberk_tls._names import asked
from hauberk_tls._options import Options
from hauberk_tls._own import Own
from hauberk_tls._peer import Check
from hauberk_tls._trust import Trust

Case = dict[str, Any]
LONGEST: Final = 10
"""The most that ``max_chain`` can be."""


def options(case: Case) -> Options:
    depth = case["max_chain_depth"]
    return Options(
        ca=Path("ca.pem"),
        require_common_name=False,
        require_purpose=False,
        max_chain=LONGEST if depth is None else min(depth + 2, LONGEST),
    )


def trust(case: Case) -> Trust:
    crl = "".join(case["crls"]).encode()
    return Trust(
        (), "".join(case["trusted_certs"]), crl, tuple(map(x509.load_pem_x509_crl, map(str.encode, case["crls"])))
    )


def theirs(case: Case, *, server: bool) -> ssl.SSLContext:
    """Return the other side, which checks nothing itself."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER if server else ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    context.set_ciphers("DEFAULT:@SECLEVEL=0")
    context.set_alpn_protocols([ALPN])
    with tempfile.TemporaryDirectory() as folder:
        chain, key = Path(folder, "chain"), Path(folder, "key")
        chain.write_text("".join((case["peer_certificate"], *case["untrusted_intermediates"])))
        key.write_text(case["peer_certificate_key"])
        context.load_cert_chain(chain, key)
    return context


def ours(case: Case) -> str:
    """Return the code that the plugin refuses with, or nothing."""
    server = case["validation_kind"] == "SERVER"
    own = Own(())
    if not server:
        issued = Ca().issue("localhost", purposes=[SERVER])
        own = Own((), issued.chain, issued.key_pem(), None)
    make = _contexts.for_client if server else _contexts.for_server
    name = asked(case["expected_peer_name"]["value"]) if server else None
    mine = End(make(options(case), own, trust(case), ALPN), server=not server, name=name)
    check = Check(
        role="client" if server else "server",
        carrier="tls",
        name=name,
        options=options(case),
        lists=Lists(trust(case).lists),
        who="the peer",
        now=time.time,
    )
    try:
        context = theirs(case, server=server)
    except ssl.SSLError:  # OpenSSL does not even show it; others may, so it is read as if one had
        return unread(check, case)
    other = End(context, server=server, name=None if server else "localhost")
    shake(*((mine, other) if server else (other, mine)), reading=False)
    try:
        if mine.error is not None:
            raise failure(mine.error, "the peer")
        check(Peer("tls", "", tls=mine.tls))
    except Refused as error:
        return error.code
    return ""


def unread(check: Check, case: Case) -> str:
    """Return the code for a certificate that cannot be shown."""
    try:
        check.certificate(check.read(ssl.PEM_cert_to_DER_cert(case["peer_certificate"])))
    except Refused as error:
        return error.code
    return ""


def pyca(case: Case) -> str:
    """Return what the verifier of pyca/cryptography finds, or nothing."""
    builder = PolicyBuilder().store(Store(x509.load_pem_x509_certificates("".join(case["trusted_certs"]).encode())))
    builder = builder.time(moment(case))
    if case["max_chain_depth"] is not None:
        builder = builder.max_chain_depth(case["max_chain_depth"])
    leaf = x509.load_pem_x509_certificate(case["peer_certificate"].encode())
    between = [x509.load_pem_x509_certificate(pem.encode()) for pem in case["untrusted_intermediates"]]
    value = case["expected_peer_name"]["value"]
    name = (
        x509.IPAddress(ipaddress.ip_address(value))
        if case["expected_peer_name"]["kind"] == "IP"
        else x509.DNSName(value)
    )
    try:
        builder.build_server_verifier(name).verify(leaf, between)
    except (VerificationError, ValueError) as error:
        return str(error)[:200]
    return ""


def moment(case: Case) -> dt.datetime:
    when = case["validation_time"]
    return dt.datetime.now(dt.UTC) if when is None else dt.datetime.fromisoformat(when)


def why_not(case: Case) -> str:
    """Return why a case cannot be judged by a handshake, or nothing."""
    if case["peer_certificate_key"] is None:
        return "no key"
    if case["validation_kind"] == "SERVER" and case["expected_peer_name"] is None:
        return "no name"
    if valid(case, moment(case).replace(microsecond=0)) != valid(case, dt.datetime.now(dt.UTC)):
        return "another time"  # OpenSSL goes by the clock of the system
    return ""


def valid(case: Case, when: dt.datetime) -> bool:
    """Whether every certificate that can be read is valid at a time."""
    for pem in (case["peer_certificate"], *case["untrusted_intermediates"], *case["trusted_certs"]):
        with contextlib.suppress(ValueError):
            one = x509.load_pem_x509_certificate(pem.encode())
            if not one.not_valid_before_utc <= when <= one.not_valid_after_utc:
                return False
    return True


def judged(case: Case) -> dict[str, Any]:
    if reason := why_not(case):
        return {"why": reason, "ours": None, "pyca": None}
    try:
        mine = ours(case)
    except (ValueError, ssl.SSLError) as error:
        return {"why": f"cannot be made: {error}"[:200], "ours": None, "pyca": None}
    both = case["validation_kind"] == "SERVER" and not case["crls"]
    return {"why": "", "ours": mine, "pyca": pyca(case) if both else None}


def main() -> None:
    cases = {case["id"]: case for case in json.loads(Path(sys.argv[1]).read_bytes())["testcases"]}
    for line in sys.stdin:
        if not line.strip():  # whether it is there
            print("{}", flush=True)  # noqa: T201 - its answer
            continue
        before = time.process_time()
        answer = judged(cases[line.strip()])
        answer["seconds"] = time.process_time() - before
        print(json.dumps(answer), flush=True)  # noqa: T201 - its answer


if __name__ == "__main__":
    main()
