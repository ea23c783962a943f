"""The official MCP conformance suite against the SDK's client, bare and behind a guard."""
