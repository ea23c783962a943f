"""The layers of the onion, from the wire to the host.

One number orders both directions: a message on its way out meets the layers from CONTENT to WIRE, a message on its way
in from WIRE to CONTENT, so what seals last opens first.
"""

from __future__ import annotations

from enum import IntEnum
from typing import Any

from hauberk.refusals import PluginError


class Layer(IntEnum):
    """Where a plugin's hooks stand. WIRE, GATE and SEAL see a `Frame`, the others a `Message`."""

    WIRE = 1
    GATE = 2
    SEAL = 3
    REPLAY = 4
    ADMIT = 5
    POLICY = 6
    CONTENT = 7

    @property
    def framed(self) -> bool:
        """Whether hooks of this layer get and return a `Frame` (bytes) and not a `Message`."""
        return self <= Layer.SEAL


WIRE, GATE, SEAL, REPLAY, ADMIT, POLICY, CONTENT = Layer


def layer_of(plugin: Any, hook: str) -> Layer:
    """Return the layer of one hook of a plugin; of two, the one nearer to the wire."""
    return layers_of(plugin, hook)[0]


def layers_of(plugin: Any, hook: str) -> tuple[Layer, ...]:
    """Return the layers of one hook of a plugin: ``layers[hook]``, else ``layer``, else POLICY.

    A hook of messages may stand in two, one of frames and one of messages: ``(Layer.GATE, Layer.ADMIT)``. It meets each
    message twice then, before its seal is opened as a `Frame` and after it as a `Message`.

    Raises:
        PluginError: It is no layer, or no such two.
    """
    value = getattr(plugin, "layers", {}).get(hook, getattr(plugin, "layer", Layer.POLICY))
    several = value if type(value) is tuple else (value,)
    try:
        found = tuple(Layer(one) for one in several)
    except ValueError:
        raise PluginError(
            f"plugin {plugin.name!r} has {hook} in layer {value!r}",
            hint=f"the layers are {', '.join(Layer.__members__)}",
        ) from None
    if len(found) != 1 and (hook not in ("on_send", "on_receive") or [one.framed for one in found] != [True, False]):
        raise PluginError(
            f"plugin {plugin.name!r} has {hook} in layers {value!r}",
            hint="on_send and on_receive may stand in one of frames, then one of messages: (Layer.GATE, Layer.ADMIT)",
        )
    return found
