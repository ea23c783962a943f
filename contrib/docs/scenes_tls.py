"""What tls says before a connection is made: its peers are no messages, so none of it can be played here."""

from __future__ import annotations

from typing import Final

_CODES: Final = (
    "untrusted self_signed name_mismatch cn_mismatch expired not_yet_valid wrong_purpose revoked chain_too_long "
    "name_constraint bad_certificate no_client_certificate old_version weak_cipher no_alpn not_tls handshake_timeout "
    "cut_off refused_by_peer handshake_failed key_pinned_otherwise crl_unusable ca_unusable unconfigured plaintext "
    "bad_name"
)
UNPLAYED_REFUSALS: Final = {f"tls.{code}": (-32004, "warning") for code in _CODES.split()}
"""Number and severity of those that need a handshake; plugins/tls/tests makes each of them."""
UNPLAYED_EVENTS: Final = {
    "tls.fallback": ("connection", "warning", "logged", "`target`, `why`"),
    "tls.rotated": ("system", "info", "logged", "`part`"),
    "tls.rotation_failed": ("system", "warning", "logged", "`part`, `reason`"),
    "tls.expires_soon": ("system", "warning", "logged", "`certificate`, `not_after`, `seconds`"),
}
"""Category, severity, action and details of those that need files that change."""
