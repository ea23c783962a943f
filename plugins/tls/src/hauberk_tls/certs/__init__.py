"""``hauberk certs``: a small CA, and the certificates of servers and clients.

How it is cut: `_names` says what a certificate may be for, `_making` makes certificates of bytes, a time and chance,
`_pem` and `_sealing` read and write them, `_places` and `_store` say where they lie and how they get there, `_index` is
what the CA remembers. On these stand `_authority`, `_issuing`, `_requests` (a CA elsewhere), `_revoking`, `_rows` and
`_checking`, and the commands on those.
"""

from __future__ import annotations

from hauberk_tls.certs._commands import certs

__all__ = ["certs"]
