"""TLS 1.3 and certificates, for both ends of a connection."""

from __future__ import annotations

from hauberk_tls._plugin import Tls

__all__ = ["Tls"]
