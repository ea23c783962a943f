"""What shows that policies are kept, and that one which has to be signed is refused where it is not."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from hauberk import differences, files, signatures
from hauberk.config import Config
from hauberk.probe import Probe
from hauberk.refusals import HauberkError
from hauberk_audit._probes import exposed
from hauberk_audit.policies._keeper import Keeper
from hauberk_audit.policies._verify import examined

if TYPE_CHECKING:
    from hauberk.policy import GuardView

_EDIT = b"\n# hauberk-doctor\n"
_NOWHERE = ".hauberk-doctor-unsigned.toml"


def probes(guard: GuardView, keeper: Keeper) -> list[Probe]:
    """Return the probes of the policies of one host."""
    kept = Probe(
        "audit.keeps_policies",
        "the history of policies is whole, and nobody else can read or change it",
        check=lambda _: _broken(keeper),
    )
    if guard.signed is None or not guard.signed.enforced:
        return [kept]
    refused = Probe(
        "audit.refuses_unsigned_policies",
        "a policy that was changed after it was signed, or has no signature, is refused",
        check=lambda _: _accepted(guard),
    )
    return [kept, refused]


def _broken(keeper: Keeper) -> str | None:
    path = keeper.history.path
    if keeper.fault is not None:
        return keeper.fault.message
    if not os.path.lexists(path):
        return None  # nothing has come into force yet
    fault = exposed(path) or _let_in(path.parent)
    if fault is not None:
        return fault
    found = examined(keeper.history)[1]
    return found[0] if found else None


def _let_in(path: Path) -> str | None:
    """Return who else can put files where the history is."""
    try:
        files.private_dir(path)
    except HauberkError as error:
        return error.message
    return None


def _accepted(guard: GuardView) -> str | None:
    """Return which policy is accepted that must not be, by the very check of a start and a reload."""
    config = guard.config
    local = guard.loaded.get("policy")
    policy_file = "" if local is None else local.version
    cases: list[tuple[str, Callable[[], Config]]] = [
        ("a policy that was changed after it was signed", lambda: differences.like(config, config.content + _EDIT)),
        ("a policy that is not signed", lambda: _unsigned(config)),
    ]
    for what, made in cases:
        try:
            signatures.checked(made(), policy_file, guard.now())
        except HauberkError:
            continue
        return f"{what} would be put in force"
    return None


def _unsigned(config: Config) -> Config:
    path = (config.base or Path.cwd()) / _NOWHERE
    return Config(config.content, name=str(path), host=config.host, base=config.base, path=path)
