"""How a host attaches: as a stdio proxy in front of any server, or in process around the SDK."""
