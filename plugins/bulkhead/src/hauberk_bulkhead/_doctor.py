"""The limits of the doctor's server, small enough that a probe can pass them."""

from __future__ import annotations

from typing import Final

from msgspec.structs import replace

from hauberk_bulkhead._options import Options

HELD: Final = "hauberk-doctor-held"
"""A tool of the doctor's server of which there is room for one call."""
_ROOMY: Final = 1000
"""What else may be in flight there: the probes of other plugins are not to fail for the caps of this one."""
DOCTOR_BYTES: Final = 1024 * 1024
"""The largest message toward the doctor's server, if the configuration's limit is above."""


def for_doctor(options: Options, line: int) -> Options:
    """Return the options of the doctor's server: small limits, so that a probe can pass them."""
    most = min(options.to_server_bytes or line, DOCTOR_BYTES)
    return replace(
        options,
        to_server_bytes=most,
        tools={HELD: 1},
        queue=0,
        in_flight=_ROOMY,
        in_flight_per_tool=_ROOMY,
        in_flight_per_principal=_ROOMY,
        connections=_ROOMY,
    )
